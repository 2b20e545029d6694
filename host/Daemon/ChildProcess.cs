using System.ComponentModel;
using System.Diagnostics;

namespace Polyblk.Host.Daemon;

/// <summary>Starts further processes of the daemon.</summary>
internal static class ChildProcess
{
    /// <summary>Starts one.</summary>
    /// <exception cref="RefusalException">The program cannot be started.</exception>
    public static Process Start(ProcessStartInfo start)
    {
        try
        {
            return Process.Start(start) ?? throw RefusalException.HostLacks($"{start.FileName} cannot be started.");
        }
        catch (Win32Exception e)
        {
            throw RefusalException.HostLacks($"{start.FileName} cannot be started: {e.Message}");
        }
    }
}
