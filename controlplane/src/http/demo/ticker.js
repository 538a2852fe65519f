// A worker that keeps time. Browsers slow a hidden page's timers to one a second or less, but not a
// worker's: with it the test picture keeps moving while its tab is in the background.
let timer = 0;
onmessage = ({ data: intervalMs }) => {
  clearInterval(timer);
  if (intervalMs > 0) timer = setInterval(() => postMessage(0), intervalMs);
};
