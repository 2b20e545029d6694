namespace Polyblk.Fuzz;

/// <summary>
/// A part of the program that is fed with arbitrary bytes. One input always does the same: no clock, no randomness but the
/// input's, and of threads
/// only such as are waited for.
/// </summary>
public interface IFuzzTarget
{
    /// <summary>Its name on the command line, and of its folders in <c>corpus</c> and <c>crashes</c>.</summary>
    string Name { get; }

    /// <summary>Runs one input.</summary>
    /// <exception cref="FuzzFailureException">An invariant does not hold. Any other exception is a finding as well.</exception>
    void Run(ReadOnlySpan<byte> input);

    /// <summary>Inputs to begin with, by name: what an ordinary peer does.</summary>
    IEnumerable<(string Name, byte[] Input)> Seeds();
}

/// <summary>Something that must never be, was.</summary>
public sealed class FuzzFailureException(string message) : Exception(message)
{
    /// <summary>Throws unless a condition holds.</summary>
    public static void Require(bool condition, string message)
    {
        if (!condition)
        {
            throw new FuzzFailureException(message);
        }
    }
}
