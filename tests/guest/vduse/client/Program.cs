// Verified random I/O on a vhost-vdpa device through libblkio, run in a guest: NODE QUEUES REQUESTS SPAN-BYTES.

using System.Globalization;
using Polyblk.Blkio;

if (args.Length != 4)
{
    Console.Error.WriteLine("usage: NODE QUEUES REQUESTS SPAN-BYTES");
    return 2;
}

try
{
    int queues = int.Parse(args[1], CultureInfo.InvariantCulture);
    int requests = int.Parse(args[2], CultureInfo.InvariantCulture);
    long span = long.Parse(args[3], CultureInfo.InvariantCulture);
    Console.WriteLine(BlkioVerifier.Run("virtio-blk-vhost-vdpa", args[0], queues, span, requests, maxUnits: 8, seed: 4));
    return 0;
}
catch (Exception e) when (e is IOException or InvalidDataException)
{
    Console.Error.WriteLine(e.Message);
    return 1;
}
