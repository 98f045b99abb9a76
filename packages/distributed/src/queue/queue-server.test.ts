import { describe, expect, it } from 'vitest';
import { hidePassword, openQueueServer } from './queue-server.js';

describe('addresses of queues', () => {
  it('are shown without their password', () => {
    expect(hidePassword('rediss://user:secret@host:6380/2')).toBe('rediss://user:***@host:6380/2');
    expect(hidePassword('redis://:secret@host')).toBe('redis://:***@host');
    expect(hidePassword('redis://host:6379')).toBe('redis://host:6379');
  });

  it('that are none are refused, and a server that is not there is named', async () => {
    for (const address of ['amqp://host', 'host:6379', 'redis://'])
      await expect(openQueueServer(address)).rejects.toThrow(/was expected/);
    // Port 9 of the loopback: nothing listens there.
    await expect(openQueueServer('redis://:secret@127.0.0.1:9')).rejects.toThrow(
      /:\*\*\*@127.0.0.1:9.*cannot be used \(ECONNREFUSED\)/,
    );
  });
});
