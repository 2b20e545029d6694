using Polyblk.Core.Block;

namespace Polyblk.Core.Reactors;

/// <summary>
/// Something that a reactor is to run: the node that its mailbox and its local run queue link together. It is its own list entry,
/// so handing it over allocates nothing; it can be in one list at a time.
/// </summary>
public abstract class ReactorWork
{
    /// <summary>The link of the list that holds this work. Only the list touches it.</summary>
    internal ReactorWork? NextWork;

    /// <summary>Runs on the reactor's thread. Must not block or throw.</summary>
    public abstract void Run();
}

/// <summary>Work made of a delegate, for control paths.</summary>
internal sealed class DelegateWork(Action action) : ReactorWork
{
    public override void Run() => action();
}
