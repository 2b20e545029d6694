using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Interop;

namespace Polyblk.Frontends.VhostUser;

/// <summary>
/// The descriptor of memory that a front-end shares, kept after it was mapped so that it can be handed over to a successor. Their
/// number is bounded (<see cref="SessionContext.KeptFiles"/>).
/// </summary>
internal sealed class KeptFile : IDisposable
{
    private KeptFile(int fd) => File = new SafeFileHandle(fd, ownsHandle: true);

    /// <summary>The descriptor.</summary>
    public SafeFileHandle File { get; }

    /// <summary>Keeps a descriptor, where that does no harm.</summary>
    /// <param name="given">What the front-end gave; the caller disposes it.</param>
    /// <returns>
    /// Null where its end might wait for somebody, or there are too few descriptors: the session works all the same, and cannot
    /// be handed over.
    /// </returns>
    public static KeptFile? Keep(ForeignDescriptor given)
    {
        if (!DescriptorCloser.IsHarmless((int)given.File.DangerousGetHandle()))
        {
            return null;
        }

        try
        {
            SessionContext.KeptFiles.Take(isOneOfMany: false);
        }
        catch (IOException)
        {
            return null;
        }

        return new KeptFile(given.TakeOver());
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!File.IsClosed)
        {
            File.Dispose();
            SessionContext.KeptFiles.Return();
        }
    }
}
