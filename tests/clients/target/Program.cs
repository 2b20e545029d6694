// A target to be killed: serves a drive over vhost-user until its standard input ends.
//
//     Polyblk.ClientsTarget DRIVE SOCKET REACTORS

using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives;
using Polyblk.Frontends;
using Polyblk.Frontends.VhostUser;

if (args.Length != 3 || !int.TryParse(args[2], out int count))
{
    Console.Error.WriteLine("usage: Polyblk.ClientsTarget DRIVE SOCKET REACTORS");
    return 2;
}

using var reactors = new ReactorGroup([.. Enumerable.Range(0, count).Select(i => new ReactorOptions { Name = $"reactor/{i}" })]);
await using IBlockDevice device = DriveFactory.Open(DriveSpec.Parse(args[0]));
string directory = Path.GetDirectoryName(Path.GetFullPath(args[1]))!;
var spec = new ExportSpec { Id = "target", VolumeName = "target", Device = device, SocketPath = args[1], Serial = "target" };
var context = new ExportContext(reactors, directory, directory, NullLoggerFactory.Instance);
await using IExport export = await new VhostUserFrontend().CreateAsync(spec, context, CancellationToken.None);
Console.WriteLine("ready");
Console.In.ReadToEnd();
return 0;
