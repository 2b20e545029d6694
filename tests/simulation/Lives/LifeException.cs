namespace Polyblk.Simulation.Tests.Lives;

/// <summary>Something that must not be in a life.</summary>
internal sealed class LifeException : Exception
{
    public LifeException()
    {
    }

    public LifeException(string message)
        : base(message)
    {
    }

    public LifeException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
