import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRandom } from '@q/core';
import { createGradientReducer, type Exchange, errorFeedback, exact, scaledSign } from '@q/gradients';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { awaitWorkers, joinWorkers, type MeetingPlace } from './meet.js';
import { hubExchange, memberExchange } from './star-exchange.js';
import { WorkerError } from './worker-error.js';

let folder: string;
let place: MeetingPlace;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-workers-'));
  place = { path: join(folder, 'socket') };
});
afterEach(() => rm(folder, { recursive: true, force: true }));
const secret = { token: 'secret', run: 'run 1' };

async function meet(workers: number, patience?: number) {
  const options = { place, ...secret, patience: 5_000 };
  const joined = Array.from({ length: workers - 1 }, () => joinWorkers(options));
  const connections = await awaitWorkers(workers, options);
  const members = (await Promise.all(joined)).map((each) => ({
    ...each,
    exchange: memberExchange(each.rank, each.workers, each.connection, { patience }),
  }));
  members.sort((a, b) => a.rank - b.rank);
  return { hub: hubExchange(connections, { patience }), members };
}

describe('workers that meet at a socket', () => {
  it('all get the messages of all, by rank, round after round, empty and large ones', async () => {
    const { hub, members } = await meet(4);
    const all: Exchange[] = [hub, ...members.map(({ exchange }) => exchange)];
    expect(all.map(({ rank }) => rank)).toEqual([0, 1, 2, 3]);
    for (const size of [3, 0, 300_000]) {
      const messages = all.map(({ rank }) => new Uint8Array(size).fill(rank + 1));
      const received = await Promise.all(all.map((each, rank) => each.allGather(messages[rank])));
      for (const each of received)
        expect(each.map((message) => [...message.subarray(0, 4)])).toEqual(
          messages.map((message) => [...message.subarray(0, 4)]),
        );
      expect(received.every((each) => each.every(({ length }) => length === size))).toBe(true);
    }
    await hub.close();
  });

  it('reduce gradients to the same bits as in one process', async () => {
    const { hub, members } = await meet(3);
    const shapes = new Map([['w', [64, 80]]]);
    const all = [hub, ...members.map(({ exchange }) => exchange)].map((exchange) =>
      createGradientReducer({ compressor: errorFeedback(scaledSign()), exchange, shapes, random: createRandom(0) }),
    );
    const random = createRandom('g');
    for (let step = 0; step < 3; step++) {
      const own = all.map(() => new Map([['w', Float32Array.from({ length: 5120 }, () => random.normal())]]));
      const means = await Promise.all(all.map((each, rank) => each.reduce(own[rank], step)));
      for (const mean of means) expect(mean).toEqual(means[0]);
    }
    await hub.close();
  });

  it('a worker that dies ends the run everywhere, by its number', async () => {
    const { hub, members } = await meet(3);
    members[1].connection.close();
    const [first, second] = await Promise.allSettled([
      hub.allGather(new Uint8Array(1)),
      members[0].exchange.allGather(new Uint8Array(1)),
    ]);
    expect(first).toMatchObject({ status: 'rejected', reason: expect.any(WorkerError) });
    expect(String((first as PromiseRejectedResult).reason)).toMatch(/worker 2: the connection was closed/);
    expect(String((second as PromiseRejectedResult).reason)).toMatch(/worker 0 stopped the run: worker 2/);
  });

  it('a worker that says nothing is named after the time that was given', async () => {
    const { hub, members } = await meet(2, 200);
    await expect(hub.allGather(new Uint8Array(1))).rejects.toThrow(/worker 1: has sent nothing for/);
    members[0].connection.close();
  });

  it('garbage in place of a gradient is refused by the reducer, with the worker', async () => {
    const { hub, members } = await meet(2);
    const reducer = createGradientReducer({
      ...{ compressor: exact(), exchange: hub, shapes: new Map([['w', [2]]]), random: createRandom(0) },
    });
    const failing = reducer.reduce(new Map([['w', new Float32Array(2)]]), 0);
    await members[0].connection.send(Uint8Array.of(1, 2, 3));
    await expect(failing).rejects.toThrow(/worker 1 for step 0.*truncated/);
    await hub.close('garbage');
  });
});

describe('processes that may not join', () => {
  it('are told why: another token, another run, one too many, no protocol', async () => {
    const options = { place, ...secret, patience: 3_000 };
    const meeting = awaitWorkers(2, options);
    await expect(joinWorkers({ ...options, token: 'guess' })).rejects.toThrow(/rejected this process: its token/);
    await expect(joinWorkers({ ...options, run: 'run 2' })).rejects.toThrow(/another run: model, text/);
    const stranger = connect((place as { path: string }).path);
    stranger.on('error', () => {});
    stranger.write(Uint8Array.of(5, 0, 0, 0, 104, 101, 108, 108, 111));
    const member = await joinWorkers(options);
    const connections = await meeting;
    expect([member.rank, connections.length]).toEqual([1, 1]);
    for (const each of [...connections, member.connection]) each.close();
    stranger.destroy();
  });

  it('worker 0 says how many came, and the others that worker 0 is not there', async () => {
    await expect(awaitWorkers(3, { place, ...secret, patience: 150 })).rejects.toThrow(/1 of 3 workers met at/);
    await expect(joinWorkers({ place, ...secret, patience: 150 })).rejects.toThrow(/worker 0 is not at/);
  });
});
