// Outputs its payload in upper case.

function readPayload(): string {
  let buffer = new ArrayBuffer(65536);
  let length = 0;
  while (true) {
    const read = process.stdin.read(buffer, length);
    if (read <= 0) break;
    length += read;
    if (length == buffer.byteLength) {
      const larger = new ArrayBuffer(2 * length);
      memory.copy(changetype<usize>(larger), changetype<usize>(buffer), length);
      buffer = larger;
    }
  }
  return String.UTF8.decode(buffer.slice(0, length));
}

process.stdout.write(readPayload().toUpperCase());
