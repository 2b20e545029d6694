// The server that the ublk guest tests run: one export of one drive, told what to do by lines on standard input. It exists so that the
// frontend is tested with nothing above it; the command line has tests of its own.
//
//   serve DRIVE [name=value ...]   id, volume, queues, depth, reactors, read-only, copy-mode, max-io, number, unprivileged, fake
//   cycle DRIVE COUNT [...]        makes and deletes an export COUNT times and says what leaked
//   nest DRIVE                     serves a drive, and then tries to serve the device that it made
//   list | delete N [force] | probe

using System.Globalization;
using Polyblk.Core.Block;
using Polyblk.Core.Drives;
using Polyblk.Core.Frontend;
using Polyblk.Core.Reactors;
using Polyblk.Frontends.Ublk;
using Polyblk.UblkTestHost;

if (args.Length == 0)
{
    Console.Error.WriteLine("usage: serve DRIVE ... | cycle DRIVE COUNT ... | nest DRIVE | list | delete N [force] | probe");
    return 2;
}

try
{
    switch (args[0])
    {
        case "serve":
            return await Server.ServeAsync(args[1], Options(2));
        case "cycle":
            return await Server.CycleAsync(args[1], int.Parse(args[2], CultureInfo.InvariantCulture), Options(3));
        case "nest":
            return await Server.NestAsync(args[1]);
        case "list":
            foreach (UblkDeviceInfo device in await new UblkReaper(Server.StateDirectory).ListAsync())
            {
                Console.WriteLine($"{device.Number} {device.State} pid={device.ServerPid} alive={device.ServerAlive} ours={device.IsOurs} "
                    + $"export={device.ExportId} size={device.SizeBytes} mode={device.CopyMode} orphan={device.IsOrphan}");
            }

            return 0;
        case "delete":
            await new UblkReaper(Server.StateDirectory).DeleteAsync(uint.Parse(args[1], CultureInfo.InvariantCulture), args.Contains("force"));
            return 0;
        case "probe":
            FrontendProbe probe = new UblkFrontend().Probe();
            Console.WriteLine($"{probe.Available} {probe.Summary} {string.Join("; ", probe.Facts.Select(f => $"{f.Key}={f.Value}"))} {string.Join("; ", probe.Remedies)}");
            return probe.Available ? 0 : 1;
        default:
            return 2;
    }
}
catch (Exception e) when (e is FrontendException or DriveException)
{
    Console.WriteLine($"ERROR {e.Message}");
    return 1;
}

Dictionary<string, string> Options(int first) => args.Skip(first).Select(a => a.Split('=', 2)).ToDictionary(p => p[0], p => p.Length > 1 ? p[1] : string.Empty);
