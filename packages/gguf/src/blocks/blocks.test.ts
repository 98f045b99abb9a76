import { createHash } from 'node:crypto';
import { blockConformance } from '@q/conformance';
import { type BlockFormat, type BlockGrid, plainBlocks } from '@q/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { q4_1, q5_1 } from './affine-block.js';
import { q2_K, q4_K, q5_K } from './affine-super-block.js';
import { bf16Block, f16Block, f32Block } from './float-blocks.js';
import { iq4_NL, iq4_XS } from './iq4.js';
import { mxfp4 } from './mxfp4.js';
import { nearestInt } from './nearest-int.js';
import { q3_K } from './q3-k.js';
import { q6_K } from './q6-k.js';
import { q8_0 } from './q8-0.js';
import { q4_0, q5_0 } from './symmetric-block.js';
import { tq1_0, tq2_0 } from './ternary-blocks.js';

const all = [q4_0, q4_1, q5_0, q5_1, q8_0, q4_K, q5_K, q6_K];
const everyGrid = [...all, q2_K, q3_K, iq4_NL, iq4_XS, tq1_0, tq2_0, mxfp4];
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

function encode(format: BlockFormat, values: Float32Array, importance?: Float32Array): Uint8Array {
  const out = new Uint8Array((values.length / format.values) * format.bytes).fill(0xa5);
  expect(format.encode(values, out, importance)).toBe(true);
  return out;
}

function decode(format: BlockFormat, bytes: Uint8Array): Float32Array {
  const out = new Float32Array((bytes.length / format.bytes) * format.values);
  format.decode(bytes, out);
  return out;
}

describe('blocks', () => {
  // What ggml 0.25.3 writes.
  it.each([
    [q4_0, '0040809191a2a2b3b3c4c4d5d5e6e6f7f7f8'],
    [q4_1, '224000cc80809191a2a2b3b3c4c4d5d5e6e6f7f7'],
    [q5_0, '003c0000ffff00112233445566778899aabbccddeeff'],
    [q5_1, '003c00cc0000ffff00112233445566778899aabbccddeeff'],
    [q8_0, '083081899199a1a9b1b9c0c8d0d8e0e8f0f8000810182028303840474f575f676f77'],
  ])('$name of -16 to 15', (format, words) => {
    expect(
      hex(
        encode(
          format,
          Float32Array.from({ length: 32 }, (_, i) => i - 16),
        ),
      ),
    ).toBe(words);
  });

  it.each([
    [
      q4_K,
      'de1a2c26fefffffcfffdfefecfdcfffea0156bc1278cd3489e045ab0167bc2378de349ae056ab1267cd2389de459af15268ce248ad0459b0157bd1379ce348ae046ac0267bd2379df359be156ac1268c9df359be157ac1268ce248ad0459b0157bd1379ce348ae046ac0267bd2379df3156ac1268cd2489df459b0157bc1378ce348ae046ab0267bd2379de359ae156a',
    ],
    [
      q5_K,
      '8e165326fffdfdfdfffcfeffdfeffdcf326c9936cc9366c9b36499324c9926cc9366c9336c99364c9b66cdb366d9336c702be7a35f1ad6824d09c5813cf8b46f2be7935e1ad6824d09c5703cf8a36f2b5e1ad5914d09c4803cf8b36f2be6a25e1ad5914d09c4703cf7b36f2be6a25e1a3be8b36e2be6925e19c5814c08b4703cf7a36f2ad6925d19c5814c08b4703be71bd7824e0ab5713de9a4602cd8935f1bc6824e0ab5713de9a4601cd7935f1bc6',
    ],
    [
      q6_K,
      'd158bf37be25ad048b047bf37ad159d0c941ea63eb74fb741d951ea72fc841c9bf35ad169b048df26be069d147cf38bd1a922c840d85ed77ff57d038b04aa22b67df58c139b22aa22b931c85fd76ee57ce5ad137b31a902c830f86ec78ff55d1c841da62eb63fc840d951ea63fb840c9d129b30b931c74fe86de67ff47d129b118b1c66cb11b6c861b71c61cb1c76cb22453f9248ef9138ef4538d2452f9248ed4a209d47e09a37e14a349d4ae09d77ec863be1463c9147ec923bec463bd1463807f897a867a84877f737d7a81877c89758e',
    ],
  ])('$name is what ggml writes of 256 values', (format, words) => {
    expect(
      hex(
        encode(
          format,
          Float32Array.from({ length: 256 }, (_, i) => (((i * 37) % 101) - 50) / 32),
        ),
      ),
    ).toBe(words);
  });

  // tooling/clients/gguf/golden.py prints the digests.
  it.each([
    [
      q4_0,
      '93ed435b75d327ab0b702063d2726a866f43ec92ff18e07f1be6a31880365a9c',
      '2e85302547a84241af5039696b2de8ee89bf17a063bc786ae670b0a75d99506d',
    ],
    [
      q4_1,
      '13c124454bd762de360b010bf32b2140eb1d8422573131ae5b5e29658ded7880',
      '75bc99aa6dd4ef777b93f836816e9f1b4d63707a1b3974ad8536b90d829c31cd',
    ],
    [
      q5_0,
      '3b5a5430194396d13bae7c93728dbe39654e020039c9343d19c2847e54f75d23',
      'be3eda145c0be65616dd8317ac0ea4f9b5d1021162adddc602cd31b96b1805cb',
    ],
    [
      q5_1,
      '3ed6493c69c1bc5093efa3133d711a1edfa88baa8c24dd2d8d36865fbae5f38a',
      '581a6acd586b6c691f33413a5115c216e9e3af2e72cf6ba1cd2910a9f030a6ef',
    ],
    [
      q8_0,
      'a43f1d3b5e6e55b3a274c72138f18b66cc218e6b421c1c851e7bd233d9b91c1c',
      'a43f1d3b5e6e55b3a274c72138f18b66cc218e6b421c1c851e7bd233d9b91c1c',
    ],
    [
      q2_K,
      '73f8ce80ee27588234472ed3130b796f853f33eccc6be307dca618907876ff5c',
      'cbb468590e076bb33dd08b005597d499f7dec7af900d8f426cd0b50adf7e9780',
    ],
    [
      q3_K,
      '6920c96c11bf09c3118b2f605d1a2694751da13c88264c57f3ff95e9903b9be5',
      'e234801da15525d3639394a837cd708a84f68c27378a18462af468effef3711d',
    ],
    [
      q4_K,
      '5c7a554de8af8afd3eb3e37f18aa0920d98386e48ef0c61f0f097b49a6b2eb63',
      '11b958fb82fcacb1c908ffb2d5dd6462a95706fac48b9f8417e6fb5eb48742c2',
    ],
    [
      q5_K,
      'abff1de4d3e7f642513754c4b237381784c274d544d91bda8db4ba0257fef687',
      '706b4096b637faaeaeef0e4b22eeaa93562c702d8d1bb3b63dd90eee6de296b7',
    ],
    [
      q6_K,
      'c5097839e16d7f143c12f86eb82dd3444f54a7faa10570a79977b94090fadf54',
      'ab237bd099abe7d09a0d9d483fc84e4c0a5d3105e334ff2e07926f6e29052647',
    ],
    [
      iq4_NL,
      '13a9a24fb3829fbac049db43c994ac1ad74cca07f0435edef05e94ac29f7c406',
      '8c39db3cbd307b58d6cc8fff5bcac9daf3bc2c056ae135c5e46cf77afac7311a',
    ],
    [
      iq4_XS,
      '6cb460b5049c52def40470f51e2206824fc8a42ca4328b7646c65ba6bd484e0d',
      '299556e8b9645e92ad1684e7a0dd39904967e7a3bafced9a19d1d2cf20b89848',
    ],
    [
      tq1_0,
      'ad843cbbd95c93c8d8669ede03d0c6593d3d10470f8ca04889a8f50f8ee51a5d',
      'ad843cbbd95c93c8d8669ede03d0c6593d3d10470f8ca04889a8f50f8ee51a5d',
    ],
    [
      tq2_0,
      'e7c027bd71f61ba74ac2bfd898484f6e48b164b70f6a875211ea557be4f68340',
      'e7c027bd71f61ba74ac2bfd898484f6e48b164b70f6a875211ea557be4f68340',
    ],
    [
      mxfp4,
      '0abb83149f54968a624eb668c2dfedbbcfeb3100f2ad48d254e39449500d775c',
      '0abb83149f54968a624eb668c2dfedbbcfeb3100f2ad48d254e39449500d775c',
    ],
  ])(
    '$name is what ggml writes of 65,536 bell-shaped values, without and with importance, by SHA-256',
    (format, plain, weighted) => {
      let word = 12345;
      const next = () => {
        word = (Math.imul(word, 1664525) + 1013904223) >>> 0;
        return word;
      };
      const values = Float32Array.from({ length: 65536 }, (_, i) => {
        const bell = next();
        return (
          ((bell >>> 24) + ((bell >>> 16) & 255) + ((bell >>> 8) & 255) - 382) / 2 ** (7 + (Math.floor(i / 256) % 5))
        );
      });
      const importance = Float32Array.from({ length: 512 }, () => (1 + (next() >>> 20)) / 1024);
      const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
      expect(digest(encode(format, values))).toBe(plain);
      expect(digest(encode(format, values, importance))).toBe(weighted);
    },
  );

  it.each(everyGrid)(
    '$name has the same bytes when its codes and scales are taken apart and put together',
    (format) => {
      const values = Float32Array.from({ length: 2 * format.values }, (_, i) => Math.sin(i * i) / (1 + (i % 7)));
      const grid = format.grid as BlockGrid;
      const groups = format.values / grid.group;
      const [scales, minima] = [new Float32Array(groups), new Float32Array(groups)];
      const codes = new Uint8Array(format.values);
      const bytes = encode(format, values);
      for (let block = 0; block < 2; block++) {
        const from = bytes.subarray(block * format.bytes, (block + 1) * format.bytes);
        const to = from.slice();
        grid.getCodes(from, codes);
        grid.putCodes(codes, to);
        expect(hex(to)).toBe(hex(from));
        // What is stored can be stored again, and the codes stay.
        grid.getScales(from, scales, minima);
        const [storedScales, storedMinima] = [scales.slice(), minima.slice()];
        expect(grid.putScales(scales, minima, to)).toBe(true);
        for (let j = 0; j < groups; j++) {
          expect(Math.abs(scales[j] - storedScales[j])).toBeLessThanOrEqual(
            0.02 * Math.max(...storedScales.map(Math.abs)),
          );
          expect(Math.abs(minima[j] - storedMinima[j])).toBeLessThanOrEqual(0.02 * Math.max(...storedMinima, 1e-9));
        }
        const again = codes.slice();
        grid.getCodes(to, again);
        expect([...again]).toEqual([...codes]);
      }
    },
  );

  it.each(everyGrid.filter(({ grid }) => grid?.multiples))(
    '$name: scales are whole multiples of the steps that a block has, and can be set while its codes stay',
    (format) => {
      const grid = format.grid as BlockGrid;
      const multiples = grid.multiples as NonNullable<BlockGrid['multiples']>;
      const groups = format.values / grid.group;
      const values = Float32Array.from({ length: format.values }, (_, i) => Math.sin(i) * (1 + (i % 7)));
      const bytes = encode(format, values);
      const [scales, minima] = [new Float32Array(groups), new Float32Array(groups)];
      const codes = new Uint8Array(format.values);
      grid.getCodes(bytes, codes);
      const { scale, minimum } = multiples.steps(bytes);
      const [least, most] = multiples.scale;
      const whole = Int32Array.from({ length: groups }, (_, j) => least + ((j * 5) % (most - least + 1)));
      const wholeMinima = Int32Array.from({ length: groups }, (_, j) => (j * 3) % ((multiples.minimum?.[1] ?? 0) + 1));
      multiples.put(whole, wholeMinima, bytes);
      grid.getScales(bytes, scales, minima);
      expect([...scales]).toEqual([...whole].map((value) => Math.fround(value * scale)));
      expect([...minima]).toEqual([...wholeMinima].map((value) => Math.fround(value * minimum)));
      const again = codes.slice();
      grid.getCodes(bytes, again);
      expect([...again]).toEqual([...codes]);
    },
  );

  it.each(all)('$name is off by no more than its steps allow, and takes what it gave as it is', (format) => {
    const bits = Number(format.name[1]);
    fc.assert(
      fc.property(
        fc.array(fc.float({ min: -8, max: 8, noNaN: true }), { minLength: format.values, maxLength: format.values }),
        (list) => {
          const values = Float32Array.from(list);
          const back = decode(format, encode(format, values));
          const range = Math.max(...values, 0) - Math.min(...values, 0);
          // Half a step where codes reach both ends; a whole one where the far end has no code. Searches may give up more at an end.
          const slack = format.values === 256 ? 3 : 1.05;
          const symmetric = /_0|6_K/.test(format.name) ? 2 : 1;
          for (const [i, x] of values.entries())
            expect(Math.abs(back[i] - x)).toBeLessThanOrEqual((slack * symmetric * range) / (2 ** bits - 1) + 1e-6);
        },
      ),
      { numRuns: 20 },
    );
  });

  it.each(all)('$name keeps zeros, refuses what is not finite, and scales beyond f16', (format) => {
    const values = new Float32Array(2 * format.values);
    expect([...decode(format, encode(format, values))].every((x) => x === 0)).toBe(true);
    const out = new Uint8Array(2 * format.bytes);
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e30]) {
      values[format.values + 5] = bad;
      expect(format.encode(values, out)).toBe(false);
    }
  });

  it('of floats are the patterns themselves', () => {
    const values = Float32Array.of(1, -2.5, 65504, 1e-3);
    expect(hex(encode(f32Block, values.subarray(0, 2)))).toBe('0000803f000020c0');
    expect(hex(encode(f16Block, values.subarray(0, 3)))).toBe('003c00c1ff7b');
    expect(hex(encode(bf16Block, values.subarray(0, 2)))).toBe('803f20c0');
    expect([...decode(f16Block, encode(f16Block, values.subarray(0, 3)))]).toEqual([1, -2.5, 65504]);
    expect(f16Block.encode(Float32Array.of(65520), new Uint8Array(2))).toBe(false);
  });

  it('round ties to even', () => {
    expect([0.5, 1.5, -0.5, -1.5, 2.5000001, 4194303].map(nearestInt)).toEqual([0, 2, 0, -2, 3, 4194303]);
    expect(nearestInt(Number.NaN)).toBe(0);
  });
});

describe('plain functions in place of block kernels', () => {
  for (const { name, run } of blockConformance(all)) it(name, () => run(plainBlocks));
});
