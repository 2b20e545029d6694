using Polyblk.Virtio.Memory;
using Polyblk.Virtio.VhostUser;

namespace Polyblk.Frontends.VhostUser;

/// <summary>The dirty log that the front-end shares, with what is needed to share it with a successor.</summary>
/// <param name="Log">The log.</param>
/// <param name="Place">Where it is in its file.</param>
/// <param name="File">Its file; null where it was not kept.</param>
internal sealed record SharedDirtyLog(DirtyLog Log, VhostUserLog Place, KeptFile? File) : IDisposable
{
    public void Dispose()
    {
        Log.Dispose();
        File?.Dispose();
    }
}
