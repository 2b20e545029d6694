namespace Polyblk.Raid.Tests.Arrays;

/// <summary>Content that is like nothing else.</summary>
internal static class TestBytes
{
    /// <summary>Bytes that follow from the seed alone.</summary>
    public static byte[] Noise(int length, int seed = 1)
    {
        var data = new byte[length];
        new Random(seed).NextBytes(data);
        return data;
    }
}
