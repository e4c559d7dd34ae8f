/**
 * A name for the user that runs PostgreSQL: initdb and single-user PostgreSQL refuse a user id
 * without an entry in /etc/passwd (`docker run --user 4711`), and have no option for it. Preloaded,
 * this library answers their `getpwuid`. It is assembled here because hosts have no compiler.
 */

/** ELF's numbers of the processor and of `R_*_RELATIVE`; code that returns `&passwd`. */
const PROCESSORS: Record<string, { machine: number; relative: number; code: (distance: number) => bigint }> = {
  x64: {
    machine: 62,
    relative: 8,
    code: (distance) => 0xc3_00000000_058d48n | (BigInt(distance - 7) << 24n), // lea rax, [rip + distance - 7]; ret
  },
  arm64: {
    machine: 183,
    relative: 1027,
    code: (distance) => words(0x10000000 | ((distance & 3) << 29) | ((distance >> 2) << 5), 0xd65f03c0), // adr x0, distance; ret
  },
};

/** Offsets in the file. From `dynamic` on, parts are loaded into writable pages, `PAGE` higher. */
const AT = {
  segments: 0x40,
  hash: 0x120,
  symbols: 0x138,
  symbolNames: 0x168,
  relocations: 0x178,
  code: 0x1f0,
  name: 0x1f8,
  dynamic: 0x200,
  passwd: 0x290,
  end: 0x2c0,
} as const;
/** The largest page of Linux on these processors. */
const PAGE = 0x10000;
const SYMBOL_NAMES = "\0getpwuid\0";
/** Offsets of the texts in `struct passwd`: name, password, comment, home, shell. */
const PASSWD_TEXTS = [0, 8, 24, 32, 40];

/**
 * A shared library whose `getpwuid` names every user `chatify`.
 *
 * @param processor as from `os.arch()`
 * @returns the file's bytes; undefined unless the processor is x64 or arm64
 */
export function userNameLibrary(processor: string): Uint8Array | undefined {
  const target = PROCESSORS[processor];
  if (!target) return undefined;
  const file = Buffer.alloc(AT.end);
  const put = (offset: number, ...values: (number | bigint)[]) =>
    values.forEach((value, i) => file.writeBigUInt64LE(BigInt(value), offset + 8 * i));

  file.write("\x7fELF\x02\x01\x01", "latin1"); // 64 bits, little-endian
  put(0x10, words(3 | (target.machine << 16), 1), 0, AT.segments, 0, words(0, 0x40 | (0x38 << 16)), 4); // a shared library
  const segments = [
    { type: 1, flags: 5, at: 0, size: AT.dynamic, align: PAGE }, // read, execute
    { type: 1, flags: 6, at: AT.dynamic, size: AT.end - AT.dynamic, align: PAGE }, // read, write
    { type: 2, flags: 6, at: AT.dynamic, size: AT.passwd - AT.dynamic, align: 8 }, // dynamic section
    { type: 0x6474e551, flags: 6, at: 0, size: 0, align: 16 }, // non-executable stack
  ];
  for (const [i, { type, flags, at, size, align }] of segments.entries()) {
    put(AT.segments + 56 * i, words(type, flags), at, loaded(at), loaded(at), size, size, align);
  }

  put(AT.hash, words(1, 2), words(1, 0)); // one bucket: symbol 1 of 2
  put(AT.symbols + 24, words(1, 0x1_0012), loaded(AT.code), 8); // a global function
  file.write(SYMBOL_NAMES, AT.symbolNames, "latin1");
  for (const [i, field] of PASSWD_TEXTS.entries()) {
    const text = AT.name + (i === 0 ? 0 : "chatify".length); // the others are empty
    put(AT.relocations + 24 * i, loaded(AT.passwd + field), target.relative, text);
  }
  put(AT.code, target.code(loaded(AT.passwd) - loaded(AT.code)));
  file.write("chatify\0", AT.name, "latin1");

  put(AT.dynamic, 4, AT.hash, 5, AT.symbolNames, 6, AT.symbols, 7, AT.relocations);
  put(AT.dynamic + 64, 8, 24 * PASSWD_TEXTS.length, 9, 24, 10, SYMBOL_NAMES.length, 11, 24); // the sizes of these
  return file;
}

/** Two 32-bit words as a 64-bit one. */
function words(low: number, high: number): bigint {
  return BigInt(low >>> 0) | (BigInt(high >>> 0) << 32n);
}

function loaded(offset: number): number {
  return offset < AT.dynamic ? offset : offset + PAGE;
}
