// What the VDUSE tests run in their guest beside the command line.
//
//   verify NODE QUEUES REQUESTS SPAN-BYTES   verified random I/O on a vhost-vdpa device through libblkio; with a path at the end,
//                                            until there is a file, but at least so many requests on each queue
//   cycle COUNT                              makes, attaches and deletes a device COUNT times and says what leaked

using System.Globalization;
using Polyblk.Blkio;
using Polyblk.Frontends;

namespace Polyblk.GuestPrograms.Vdpa;

/// <summary>See the top of the file.</summary>
internal static class VdpaProgram
{
    /// <summary>Does what the words say, and returns the exit status.</summary>
    public static async Task<int> RunAsync(string[] args)
    {
        try
        {
            switch (args)
            {
                case ["verify", string node, string queues, string requests, string span]:
                    Console.WriteLine(BlkioVerifier.Run("virtio-blk-vhost-vdpa", node, Number(queues), Number(span), Number(requests), maxUnits: 8, seed: 4));
                    return 0;
                case ["verify", string node, string queues, string requests, string span, string untilFile]:
                    bool isOver = false;
                    using (new Timer(_ => Volatile.Write(ref isOver, File.Exists(untilFile)), null, 0, 100))
                    {
                        // Few requests at once leave the processors to the target's successor, which this waits for.
                        Console.WriteLine(BlkioVerifier.Run(
                            "virtio-blk-vhost-vdpa", node, Number(queues), Number(span), Number(requests), maxUnits: 8, seed: 4, () => !Volatile.Read(ref isOver), depth: 8));
                    }

                    return 0;
                case ["cycle", string count]:
                    return await LeakCheck.RunAsync(Number(count)) ? 0 : 1;
                default:
                    Console.Error.WriteLine("usage: verify NODE QUEUES REQUESTS SPAN-BYTES [UNTIL-FILE] | cycle COUNT");
                    return 2;
            }
        }
        catch (Exception e) when (e is IOException or InvalidDataException or FrontendException)
        {
            Console.Error.WriteLine(e.Message);
            return 1;
        }
    }

    private static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);
}
