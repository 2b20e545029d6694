using Polyblk.Compare.Methods;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Host;
using Polyblk.Host.Volumes;
using Polyblk.Raid;

namespace Polyblk.Cli.CommandLine;

/// <summary>The arrays that <c>polyblk compare</c> drives in its own process.</summary>
internal sealed class CompareArrays : IArrayFactory
{
    public async Task<IOpenArray> CreateAsync(string level, IReadOnlyList<string> drives, CancellationToken cancellation)
    {
        var reactor = new Reactor(new ReactorOptions { Name = "array-home", Idle = IdlePolicy.Frugal });
        List<IBlockDevice> open = [];
        try
        {
            open = await DriveList.OpenAllAsync(DriveList.Parse(drives), readOnly: false).ConfigureAwait(false);
            cancellation.ThrowIfCancellationRequested();
            ArrayCreateOptions options = VolumeMaker.CreateOptions("compare", level, chunkBytes: 0);

            // The theory counts what a level costs: without the journal, which the volume that is served has.
            options = options with { Force = true, AssumeZeroed = true, Consistency = VolumeMaker.ForVolatile(options.Level) };
            RaidArray array = await ArrayBuilder.CreateAsync(options, open, reactor).ConfigureAwait(false);
            return new OpenArray(array, open, reactor);
        }
        catch (Exception e)
        {
            await DriveList.CloseAllAsync(open).ConfigureAwait(false);
            reactor.Dispose();
            if (e is ArrayException or RefusalException)
            {
                throw new MethodException($"the array could not be made: {e.Message}", e);
            }

            throw;
        }
    }

    private sealed class OpenArray(RaidArray array, List<IBlockDevice> drives, Reactor reactor) : IOpenArray
    {
        public IBlockDevice Device => array;

        public async ValueTask DisposeAsync()
        {
            await array.DisposeAsync().ConfigureAwait(false);
            await DriveList.CloseAllAsync(drives).ConfigureAwait(false);
            reactor.Dispose();
        }
    }
}
