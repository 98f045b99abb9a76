import { rotaryTable } from '@q/conformance';
import { type Engine, QuantError, SchemeError } from '@q/core';
import { describe, expect, it } from 'vitest';
import type { Handle } from './handle.js';
import { loadCpu, loadWasm } from './load-node.js';
import { createEngine } from './node-engine.js';
import { selectBackend } from './select-backend.js';
import { guardAllocation, type WasmBackend } from './wasm-backend.js';

describe('selection of a backend', () => {
  it('takes wasm when tfjs-node is not installed, and says why', async () => {
    const engine = await createEngine();
    expect(engine.name).toBe('tfjs-wasm');
    expect(engine.notes).toEqual([
      'node: @tensorflow/tfjs-node is not installed (to get it: q engine setup tfjs-node)',
      'wasm: the first backend that started',
    ]);
  });

  it('passes over what does not start, in automatic choice alone', async () => {
    const broken = {
      choice: 'node' as const,
      load: () => {
        throw new Error('libtensorflow.so.2 is missing\n  at somewhere');
      },
    };
    const candidates = [broken, { choice: 'cpu' as const, load: loadCpu }];
    const engine = await selectBackend(candidates, 'auto', {});
    expect(engine.name).toBe('tfjs-cpu');
    expect(engine.notes[0]).toBe('node: did not start (libtensorflow.so.2 is missing)');
    await expect(selectBackend(candidates, 'node', {})).rejects.toThrow(/no engine: node: did not start/);
  });

  it('takes a backend that changes the precision only when it is named', async () => {
    const rounding = {
      choice: 'node-bf16' as const,
      onlyOnRequest: true,
      load: () => ({ ...loadCpu(), name: 'rounds' }),
    };
    const candidates = [rounding, { choice: 'cpu' as const, load: loadCpu }];
    expect((await selectBackend(candidates, 'auto', {})).name).toBe('tfjs-cpu');
    expect((await selectBackend(candidates, 'node-bf16', {})).name).toBe('rounds');
  });

  it('refuses a backend that is absent', async () => {
    await expect(createEngine({ backend: 'node' })).rejects.toThrow(SchemeError);
    await expect(createEngine({ backend: 'cuda' as 'cpu' })).rejects.toThrow(
      /choose one of auto, node, node-bf16, wasm, cpu/,
    );
  });
});

/** What is observed of the same rotation and attention, the first time and the second time. */
async function observedTwice({ ops, observeBytes }: Engine<Handle>) {
  const table = rotaryTable(8, 4, 10000);
  const pass = async () => {
    const x = ops.fromF32(new Float32Array(8 * 8).fill(0.5), [1, 8, 8]);
    ops.dispose(
      ops.scope(() => {
        const turned = ops.rotary(x, 2, table);
        return ops.attention({ q: turned, k: turned, v: x, heads: 2, kvHeads: 2, headDim: 4, scale: 0.5 });
      }),
    );
    ops.dispose(x);
  };
  return [await observeBytes?.(pass), await observeBytes?.(pass)];
}

describe('bytes observed', () => {
  it('are the most that were alive at once, whatever was freed or shared', async () => {
    const engine = await createEngine({ backend: 'cpu' });
    const { ops } = engine;
    const held = ops.fromF32(new Float32Array(1000), [1000]);
    const observed = await engine.observeBytes?.(async () => {
      // Copies, each freed before the next one, the factor, and a view that shares their data.
      for (let i = 0; i < 3; i++) ops.dispose(ops.scope(() => ops.reshape(ops.scale(held, 2), [10, 100])));
      return 'done';
    });
    expect(observed).toEqual({ result: 'done', before: 4000, peak: 8004 });
    await expect(engine.observeBytes?.(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    ops.dispose(held);
    expect(engine.memory().bytes).toBe(0);
  });

  it('are the same before and after tables of positions and masks are there', async () => {
    const engine = await createEngine({ backend: 'cpu' });
    const observed = await observedTwice(engine);
    expect(observed[1]).toEqual(observed[0]);
    await engine.dispose();
  });
});

describe('engines side by side', () => {
  it('each compute on their own backend', async () => {
    const wasm = await createEngine({ backend: 'wasm' });
    const cpu = await createEngine({ backend: 'cpu' });
    const { tf } = loadWasm();
    for (const engine of [wasm, cpu, wasm]) {
      const { ops } = engine;
      const x = ops.fromF32(Float32Array.of(1, 2), [2]);
      const y = ops.add(x, x);
      expect(tf.getBackend()).toBe(engine === wasm ? 'wasm' : 'cpu');
      expect([...ops.dataSync(y)]).toEqual([2, 4]);
      ops.dispose(x);
      ops.dispose(y);
    }
  });
});

describe('the wasm backend', () => {
  it('leaves no handlers on the process, which would reprint every error of the program', async () => {
    await createEngine({ backend: 'wasm' });
    const handlers = [...process.listeners('uncaughtException'), ...process.listeners('unhandledRejection')];
    expect(handlers.filter((handler) => handler.toString().includes('ExitStatus'))).toEqual([]);
    expect(handlers.filter((handler) => /^function\s*\(reason\)\s*\{\s*throw reason/.test(handler.toString()))).toEqual(
      [],
    );
  });

  it('makes a full heap an error', () => {
    const backend = { wasm: { _malloc: (bytes: number) => (bytes > 100 ? 0 : 8) } } as unknown as WasmBackend;
    guardAllocation(backend);
    guardAllocation(backend);
    expect(backend.wasm._malloc(50)).toBe(8);
    expect(backend.wasm._malloc(0)).toBe(8);
    expect(() => backend.wasm._malloc(200)).toThrow(QuantError);
    expect(() => backend.wasm._malloc(200)).toThrow(/cannot allocate another 200 bytes/);
  });
});
