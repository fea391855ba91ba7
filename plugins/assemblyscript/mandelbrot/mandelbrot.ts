// Draws a section of the Mandelbrot set: five numbers on stdin, a grey picture (PGM) on stdout.

const MAX_PIXELS = 1_000_000;
const MAX_STEPS = 255;
/** EX_DATAERR of sysexits.h. */
const BAD_DATA = 65;

class View {
  constructor(
    public x: f64,
    public y: f64,
    /** The width of the section in the plane. */
    public width: f64,
    public columns: i32,
    public rows: i32,
  ) {}

  draw(): Uint8Array {
    const pixels = new Uint8Array(this.columns * this.rows);
    const scale = this.width / this.columns;
    for (let row = 0; row < this.rows; row++) {
      const im = this.y - (row + 0.5 - this.rows / 2.0) * scale;
      for (let column = 0; column < this.columns; column++) {
        const re = this.x + (column + 0.5 - this.columns / 2.0) * scale;
        pixels[row * this.columns + column] = steps(re, im);
      }
    }
    return pixels;
  }
}

/** How many steps of z² + c stay near 0; 0 if they seem to stay there for ever. */
function steps(re: f64, im: f64): u8 {
  let x: f64 = 0;
  let y: f64 = 0;
  for (let step = 1; step <= MAX_STEPS; step++) {
    const next = x * x - y * y + re;
    y = 2 * x * y + im;
    x = next;
    if (x * x + y * y > 4) return u8(step);
  }
  return 0;
}

/** At most 1 KiB: five numbers are shorter. */
/** More than five numbers need: a longer payload is invalid. */
function readPayload(): string {
  const buffer = new ArrayBuffer(1024);
  let length = 0;
  while (length < buffer.byteLength) {
    const read = process.stdin.read(buffer, length);
    if (read <= 0) break;
    length += read;
  }
  return length < buffer.byteLength ? String.UTF8.decode(buffer.slice(0, length)) : "";
}

function parse(payload: string): View | null {
  const numbers = payload.split("\n").join(" ").split(" ").filter((word) => word.length > 0).map<f64>((word) => parseFloat(word));
  if (numbers.length != 5 || numbers.some((number) => !isFinite(number))) return null;
  const columns = numbers[3];
  const rows = numbers[4];
  if (numbers[2] <= 0 || columns < 1 || rows < 1 || columns * rows > MAX_PIXELS) return null;
  return new View(numbers[0], numbers[1], numbers[2], i32(columns), i32(rows));
}

function main(): void {
  const view = parse(readPayload());
  if (!view) {
    process.stderr.write(`the payload must be \`x y width columns rows\`, at most ${MAX_PIXELS} pixels\n`);
    process.exit(BAD_DATA);
    return;
  }
  process.stdout.write(`P5\n${view.columns} ${view.rows}\n${MAX_STEPS}\n`);
  process.stdout.write(view.draw().buffer);
}

main();
