import { defineConfig } from 'vite';

export default defineConfig({
  build: { target: 'es2022', chunkSizeWarningLimit: 900 },
  // With `npm run dev` the page comes from Vite and everything else from a server started with --dev.
  server: { proxy: { '/rtc': { target: 'ws://127.0.0.1:7880', ws: true }, '/plenum': 'http://127.0.0.1:7880' } },
});
