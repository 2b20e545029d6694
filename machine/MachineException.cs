namespace Polyblk.Machine;

/// <summary>A virtual machine cannot be made here; the message says why, and what would mend it.</summary>
public sealed class MachineException : Exception
{
    public MachineException()
    {
    }

    public MachineException(string message)
        : base(message)
    {
    }

    public MachineException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
