// A TCP proxy in front of the server, to cut signal connections as a network does: without a close.
import { connect, createServer } from 'node:net';
import { once } from 'node:events';

/** Starts a proxy in front of `target` (a TCP port of the loopback interface). */
export async function startProxy(target) {
  const open = new Set();
  const server = createServer((near) => {
    const far = connect(target, '127.0.0.1');
    for (const [one, other] of [[near, far], [far, near]]) {
      one.setNoDelay(true);
      one.pipe(other);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        open.delete(one);
        other.destroy();
      });
      open.add(one);
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    ws: `ws://127.0.0.1:${server.address().port}`,
    /** Cuts every connection of this moment; new ones pass. */
    cut() {
      for (const one of open) one.resetAndDestroy();
    },
    async stop() {
      for (const one of open) one.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
