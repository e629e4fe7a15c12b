// Connects to port 80 of a name and prints how many milliseconds that took.
const begun = process.hrtime.bigint();
const socket = require('net').connect({ host: process.argv[2], port: 80 }, () => {
  console.log(String((process.hrtime.bigint() - begun) / 1000000n));
  socket.destroy();
});
