using Polyblk.Compare.Load;
using Polyblk.Compare.Results;
using Polyblk.Core.Block;

namespace Polyblk.Compare.Methods;

/// <summary>Makes arrays in this process. The comparator knows no RAID; who starts it does.</summary>
public interface IArrayFactory
{
    /// <summary>Makes an array afresh of drives as they are written on a command line, and starts it.</summary>
    /// <exception cref="MethodException">It cannot be made.</exception>
    Task<IOpenArray> CreateAsync(string level, IReadOnlyList<string> drives, CancellationToken cancellation);
}

/// <summary>An array that runs in this process. Disposal stops it and closes its drives.</summary>
public interface IOpenArray : IAsyncDisposable
{
    /// <summary>The array.</summary>
    IBlockDevice Device { get; }
}

/// <summary>
/// A baseline: the array without a frontend, driven in this process. What a frontend costs is what lies between it and this.
/// </summary>
public sealed class ArrayInProcess(IArrayFactory arrays, string level) : IDeliveryMethod
{
    public MethodFacts Facts { get; } = KnownFacts.Bare("array", "array, no frontend", Backing.Volume);

    public string Description => $"the {level} array driven directly, on one processor for array and load: no frontend";

    public MethodAvailability Check() => MethodAvailability.Yes;

    public object? TurnIn(ScratchSpace scratch) => scratch?.Volume is null ? null : this;

    public async Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(scratch);
        if (scratch.Volume is ComparedVolume volume)
        {
            return new OfVolume(volume, await volume.OpenAsync(cancellation).ConfigureAwait(false));
        }

        string[] drives = [.. Enumerable.Range(0, scratch.Members).Select(i => $"file:{scratch.PathOf($"inproc-member{i}.img")},size={scratch.MemberBytes}")];
        IOpenArray array = await arrays.CreateAsync(level, drives, cancellation).ConfigureAwait(false);
        return new RunningEndpoint(new DeviceEndpoint(array.Device, scratch.SpanBytes)) 
        {
            Commands = [ShellLine.NoCommand($"this program makes a {level} array in its own process, of {string.Join(' ', drives)}")], End = array.DisposeAsync,
        };
    }

    /// <summary>The user's volume, open while it has its turn.</summary>
    private sealed class OfVolume(ComparedVolume volume, IOpenArray open) : IRunningMethod
    {
        private IOpenArray? _open = open;

        public LoadEndpoint Endpoint => new DeviceEndpoint(_open!.Device, volume.SpanBytes) { Kept = volume.Kept };

        public IReadOnlyList<int> ProcessIds => [];

        public IReadOnlyList<string> Commands => [ShellLine.NoCommand($"this program opens the volume '{volume.Name}' in its own process")];

        public async Task SuspendAsync()
        {
            if (_open is not null)
            {
                await _open.DisposeAsync().ConfigureAwait(false);
                _open = null;
            }
        }

        public async Task ResumeAsync(CancellationToken cancellation) => _open ??= await volume.OpenAsync(cancellation).ConfigureAwait(false);

        public async ValueTask DisposeAsync() => await SuspendAsync().ConfigureAwait(false);
    }
}
