using System.Collections.Concurrent;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Api;

/// <summary>
/// Looks at the volumes of a host, and at their drives where nobody serves them, for requests. A drive that hangs keeps its look
/// for as long as it hangs: whoever asks for the same meanwhile waits for the same look, so that one thread is lost and not many.
/// </summary>
internal sealed class RecordLooks(StateDirectories directories)
{
    private const string All = "";

    private readonly ConcurrentDictionary<string, Lazy<Task<HostVolumesJson>>> _looks = new(StringComparer.Ordinal);

    /// <summary>All volumes, with what cannot be read.</summary>
    /// <exception cref="OperationCanceledException">Nobody waits any more; the look goes on.</exception>
    public Task<HostVolumesJson> AtAllAsync(CancellationToken cancellation) => LookAsync(
        All,
        async problems => await VolumeView.ListAsync(directories, problems.Add, CancellationToken.None).ConfigureAwait(false),
        cancellation);

    /// <summary>One volume.</summary>
    /// <inheritdoc cref="AtAllAsync"/>
    public async Task<VolumeJson> AtOneAsync(string name, CancellationToken cancellation)
    {
        VolumeName.Check(name);
        HostVolumesJson look = await LookAsync(
            name,
            async _ => [await VolumeView.ShowAsync(directories, name, _ => { }, CancellationToken.None).ConfigureAwait(false)],
            cancellation).ConfigureAwait(false);
        return look.Volumes[0];
    }

    /// <summary>Something has changed: whoever asks from now on waits for no look that was begun before.</summary>
    public void Forget() => _looks.Clear();

    private Task<HostVolumesJson> LookAsync(
        string key, Func<List<string>, Task<IReadOnlyList<VolumeJson>>> look, CancellationToken cancellation)
    {
        // A thread of its own: opening a drive waits for it.
        Lazy<Task<HostVolumesJson>>? own = null;
        own = new Lazy<Task<HostVolumesJson>>(() => Task.Factory.StartNew(
            () => RunAsync(look, () => _looks.TryRemove(KeyValuePair.Create(key, own!))),
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default).Unwrap());
        return _looks.GetOrAdd(key, own).Value.WaitAsync(cancellation);
    }

    private static async Task<HostVolumesJson> RunAsync(
        Func<List<string>, Task<IReadOnlyList<VolumeJson>>> look, Action ended)
    {
        try
        {
            var problems = new List<string>();
            return new HostVolumesJson(await look(problems).ConfigureAwait(false), problems);
        }
        finally
        {
            ended();
        }
    }
}
