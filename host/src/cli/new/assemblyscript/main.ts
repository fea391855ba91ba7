// Answers its payload in capitals.

/** Of a payload, as a host takes it by default. */
const MAX_BYTES = 1 << 20;

function readPayload(): string {
  const buffer = new ArrayBuffer(MAX_BYTES);
  let length = 0;
  while (length < buffer.byteLength) {
    const read = process.stdin.read(buffer, length);
    if (read <= 0) break;
    length += read;
  }
  return String.UTF8.decode(buffer.slice(0, length));
}

process.stdout.write(readPayload().toUpperCase());
