// Writes a zip file. Nothing is compressed, because pictures are compressed already.
// Format: PKWARE's APPNOTE.TXT 6.3, without ZIP64, so at most 4 GB and 65535 files.

const LARGEST = 0xffffffff;
const UTF8_NAMES = 0x0800;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte >>> 0;
});

export function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

// files: [{ name, blob }] with names that differ. Returns a Blob.
export async function zip(files, now = new Date()) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const { name, blob } of files) {
    const title = new TextEncoder().encode(name);
    const common = entry(crc32(new Uint8Array(await blob.arrayBuffer())), blob.size, title.length, now);
    const local = [numbers([0x04034b50, 4]), common, title];
    directory.push(numbers([0x02014b50, 4], [20, 2]), common, numbers([0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]), title);
    parts.push(...local, blob);
    offset += sizeOf(local) + blob.size;
  }
  const size = sizeOf(directory);
  if (offset + size > LARGEST || files.length > 65535) throw new Error("These pictures are too many for one zip file.");
  const end = numbers([0x06054b50, 4], [0, 2], [0, 2], [files.length, 2], [files.length, 2], [size, 4], [offset, 4], [0, 2]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

// What the header of a file and its line in the directory have in common.
function entry(crc, size, nameLength, now) {
  const time = (now.getHours() << 11) | (now.getMinutes() << 5) | (now.getSeconds() >> 1);
  const date = (Math.max(0, now.getFullYear() - 1980) << 9) | ((now.getMonth() + 1) << 5) | now.getDate();
  return numbers([20, 2], [UTF8_NAMES, 2], [0, 2], [time, 2], [date, 2], [crc, 4], [size, 4], [size, 4], [nameLength, 2], [0, 2]);
}

// Little-endian numbers: [value, bytes].
function numbers(...fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [, width]) => sum + width, 0)));
  let at = 0;
  for (const [value, width] of fields) {
    if (width === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += width;
  }
  return new Uint8Array(view.buffer);
}

function sizeOf(arrays) {
  return arrays.reduce((sum, { length }) => sum + length, 0);
}
