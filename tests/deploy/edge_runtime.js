// What CloudFront Functions have and Chromium has not: the modules `cloudfront` and `crypto`, and `Buffer.from(hex)`.
const state = { keys: "", origin: null };
const cloudfront = {
  kvs: () => ({
    get: async (name) => {
      if (name !== "keys" || !state.keys) throw new Error("KeyNotFound");
      return state.keys;
    },
  }),
  selectRequestOriginById: (id) => {
    state.origin = id;
  },
};
globalThis.Buffer = { from: (hex) => Uint8Array.from(hex.match(/../g) || [], (byte) => parseInt(byte, 16)) };

const fraction = (root) => Math.floor((root - Math.floor(root)) * 2 ** 32);
const primes = [];
for (let n = 2; primes.length < 64; n++) if (primes.every((prime) => n % prime)) primes.push(n);
const ROUNDS = primes.map((prime) => fraction(Math.cbrt(prime)));
const START = primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));
const turn = (word, by) => (word >>> by) | (word << (32 - by));

function sha256(bytes) {
  const padded = new Uint8Array(Math.ceil((bytes.length + 9) / 64) * 64);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 4, bytes.length * 8);
  const hash = START.slice();
  for (let block = 0; block < padded.length; block += 64) {
    const words = Array.from({ length: 16 }, (_, i) => view.getUint32(block + 4 * i));
    let [a, b, c, d, e, f, g, h] = hash;
    for (let i = 0; i < 64; i++) {
      if (i > 15) {
        const [x, y] = [words[i - 15], words[i - 2]];
        const [s, t] = [turn(x, 7) ^ turn(x, 18) ^ (x >>> 3), turn(y, 17) ^ turn(y, 19) ^ (y >>> 10)];
        words[i] = (words[i - 16] + s + words[i - 7] + t) | 0;
      }
      const first = h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + ROUNDS[i] + words[i];
      const second = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + second) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((word, i) => (hash[i] = (hash[i] + word) | 0));
  }
  return hash.map((word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}

const crypto_ = {
  createHmac: (_, secret) => {
    const texts = [];
    const key = new Uint8Array(64);
    key.set(secret); // at most 64 bytes
    const hash = (pad, bytes) => Buffer.from(sha256(Uint8Array.from([...key.map((byte) => byte ^ pad), ...bytes])));
    const hmac = {
      update: (text) => (texts.push(text), hmac),
      digest: () => {
        const inner = hash(0x36, new TextEncoder().encode(texts.join("")));
        return Array.from(hash(0x5c, inner), (byte) => byte.toString(16).padStart(2, "0")).join("");
      },
    };
    return hmac;
  },
};

// `requests`: [uri, query, accept]. Gives for each a refusal's status, or the URL, Accept header and origin.
globalThis.ask = async (handler, keys, requests) => {
  const answers = [];
  for (const [uri, query, accept] of requests) {
    Object.assign(state, { keys, origin: null });
    const headers = accept === null ? {} : { accept: { value: accept } };
    const answer = await handler({ request: { method: "GET", uri, headers, rawQueryString: () => query } });
    answers.push(
      answer.statusCode
        ? { status: answer.statusCode }
        : { uri: answer.uri, query: answer.querystring, accept: answer.headers.accept.value, origin: state.origin },
    );
  }
  return answers;
};
globalThis.modules = { cloudfront, crypto: crypto_ };
