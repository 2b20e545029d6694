// The server that the ublk guest tests run: exports of drives and arrays, told what to do by lines on standard input; see Server. It
// exists so that the frontend is tested with nothing above it, with faults, and with one start of the runtime for many checks. The
// command line has checks of its own.

return await new Polyblk.UblkTestHost.Server().RunAsync();
