// Writes a pattern through one door, or reads it back and compares: write|read SEED BYTES NAME=PATH. For what must be there
// after a reboot.

using System.Globalization;
using Polyblk.GuestPrograms.Doors;

namespace Polyblk.GuestPrograms.Pattern;

/// <summary>See the top of the file.</summary>
internal static class PatternProgram
{
    /// <summary>Does what the words say, and returns the exit status.</summary>
    public static int Run(string[] args)
    {
        if (args is not [("write" or "read") and string what, string seed, string bytes, string path])
        {
            Console.Error.WriteLine("usage: write|read SEED BYTES NAME=PATH");
            return 2;
        }

        try
        {
            using Door door = Door.Open(path);
            var random = new Random(int.Parse(seed, CultureInfo.InvariantCulture));
            long size = long.Parse(bytes, CultureInfo.InvariantCulture);
            byte[] expected = new byte[Door.MaxBytes];
            byte[] seen = new byte[Door.MaxBytes];
            for (long offset = 0; offset < size; offset += Door.MaxBytes)
            {
                random.NextBytes(expected);
                if (what == "write")
                {
                    door.Write(offset, expected);
                    continue;
                }

                door.Read(offset, seen);
                if (!seen.AsSpan().SequenceEqual(expected))
                {
                    throw new IOException($"other data than was written between {offset} and {offset + Door.MaxBytes}");
                }
            }

            if (what == "write")
            {
                door.Flush();
            }

            Console.WriteLine($"{what} {size} bytes by {door.Name}");
            return 0;
        }
        catch (Exception e) when (e is IOException or InvalidDataException)
        {
            Console.Error.WriteLine(e.Message);
            return 1;
        }
    }
}
