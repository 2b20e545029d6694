// The successor's side of a hand-over.

using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Interop;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;

namespace Polyblk.Host.Daemon.HandOver;

/// <summary>The daemon that works, as its successor talks to it.</summary>
internal sealed class Predecessor : IDisposable
{
    private readonly HandOverChannel _channel;

    private Predecessor(HandOverChannel channel, HandOverMessage volumes)
    {
        _channel = channel;
        Served = volumes.Served;
        Stopped = volumes.Stopped;
    }

    /// <summary>The volumes that it serves.</summary>
    public IReadOnlyList<string> Served { get; }

    /// <summary>Volumes that would start by themselves, and that somebody stopped.</summary>
    public IReadOnlyList<string> Stopped { get; }

    /// <summary>Finds the daemon that works.</summary>
    /// <returns>Null where there is none.</returns>
    /// <exception cref="RefusalException">It does not let itself be succeeded.</exception>
    public static Predecessor? Find(StateDirectories directories)
    {
        string path = HandOverServer.PathOf(directories);
        if (!Libc.IsSocket(path))
        {
            return null;
        }

        UnixSocket socket;
        try
        {
            socket = UnixSocket.Connect(path);
        }
        catch (IOException)
        {
            return null; // left by one that was killed
        }

        var channel = new HandOverChannel(socket);
        try
        {
            channel.Send(new HandOverMessage
            {
                Kind = HandOverMessage.TakeOver, Version = HandOverMessage.CurrentVersion, Pid = Environment.ProcessId,
            });
            HandOverMessage answer = channel.Receive();
            return answer.Kind == HandOverMessage.Volumes
                ? new Predecessor(channel, answer)
                : throw RefusalException.Refused($"The daemon that works hands nothing over: {answer.Reason}");
        }
        catch (Exception e)
        {
            channel.Dispose();
            throw e is IOException ? RefusalException.Refused($"The daemon that works hands nothing over: {e.Message}") : e;
        }
    }

    /// <summary>Whether it is gone, or has broken off: it has no more to give, and takes nothing back.</summary>
    public bool IsGone { get; private set; }

    /// <summary>Asks for a volume: its lock and its drives are free then.</summary>
    /// <returns>What its start needs to be allowed.</returns>
    /// <exception cref="RefusalException">It keeps it, or is gone.</exception>
    public StartPermissions Ask(string volume)
    {
        HandOverMessage answer = Say(new HandOverMessage { Kind = HandOverMessage.Give, Volume = volume }, volume, out _)
            ?? throw RefusalException.Refused($"The daemon that worked is gone, and has not given volume '{volume}'.");
        return answer.Kind == HandOverMessage.Given
            ? answer.Allowed ?? new StartPermissions()
            : throw RefusalException.Refused($"The daemon that worked keeps volume '{volume}': {answer.Reason}");
    }

    /// <summary>Says that the volume is open, and takes what its exports hand over.</summary>
    /// <returns>Nothing where the predecessor is gone: the volume is served as after a kill.</returns>
    public Luggage TakeLuggage(string volume)
    {
        var opened = new HandOverMessage { Kind = HandOverMessage.Opened, Volume = volume };
        HandOverMessage? answer = Say(opened, volume, out Queue<SafeFileHandle> descriptors);
        try
        {
            return LuggageMessage.Read(answer?.Luggage ?? [], descriptors);
        }
        catch (IOException e)
        {
            throw RefusalException.Refused(e.Message);
        }
    }

    /// <summary>Says that the volume could not be opened.</summary>
    /// <returns>Whether the predecessor goes on with it, and with everything.</returns>
    public bool Return(string volume, string reason) =>
        Say(new HandOverMessage { Kind = HandOverMessage.Failed, Volume = volume, Reason = reason }, volume, out _)?.Kind
            == HandOverMessage.TakenBack;

    /// <summary>Says that all is taken over.</summary>
    /// <returns>Whether the predecessor knows it, and ends.</returns>
    public bool Finish() => Say(new HandOverMessage { Kind = HandOverMessage.Done }, volume: null, out _)?.Kind == HandOverMessage.Done;

    public void Dispose() => _channel.Dispose();

    /// <summary>Says something, and waits for the answer; null where there is none.</summary>
    private HandOverMessage? Say(HandOverMessage message, string? volume, out Queue<SafeFileHandle> descriptors)
    {
        descriptors = [];
        if (IsGone)
        {
            return null;
        }

        try
        {
            _channel.Send(message);
            HandOverMessage answer = _channel.Receive(out descriptors);
            return answer.Volume == volume ? answer : throw new IOException($"'{answer.Kind}' is about {answer.Volume}, not {volume}.");
        }
        catch (IOException)
        {
            // Whatever was understood wrongly: nothing that comes later would be right.
            IsGone = true;
            _channel.Dispose();
            HandOverChannel.CloseAll(descriptors);
            return null;
        }
    }
}
