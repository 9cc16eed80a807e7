// The Node SDK's own tests, as its npm package ships them. They are copied out of node_modules
// because files in there are not compiled. One at a time: some look at the clock, and some keep
// the event loop for seconds where there are few cores.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  cacheDir: './fetched/.vite',
  test: { include: ['fetched/src/**/*.test.ts'], fileParallelism: false, maxConcurrency: 1 },
});
