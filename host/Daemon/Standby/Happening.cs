namespace Polyblk.Host.Daemon.Standby;

/// <summary>What a supervisor deals with, one after the other.</summary>
internal enum HappeningKind
{
    /// <summary>A worker has said something.</summary>
    Line,

    /// <summary>A process has ended.</summary>
    End,

    /// <summary>A worker should serve by now.</summary>
    Check,

    /// <summary>The pause after a death is over.</summary>
    Serve,

    /// <summary>It is time to have another one stand by.</summary>
    StandBy,

    /// <summary>The supervisor has got SIGHUP.</summary>
    Reload,

    /// <summary>It is to end.</summary>
    Stop,
}

/// <summary>One of them.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Pid">Of an end or a check: whose.</param>
/// <param name="Code">Of an end: the exit code, 128 and the signal's number for a process that one has ended; null where it is
/// not known.</param>
/// <param name="Text">Of a line.</param>
/// <param name="Source">Of a line: by whose pipe it came. A successor has that of its predecessor.</param>
internal readonly record struct Happening(
    HappeningKind Kind, int Pid = 0, int? Code = null, string? Text = null, Worker? Source = null);
