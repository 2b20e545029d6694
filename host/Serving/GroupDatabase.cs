using System.Globalization;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;

namespace Polyblk.Host.Serving;

/// <summary>The groups of this host, as its name service knows them (getgrnam(3)), and who owns a file.</summary>
public static class GroupDatabase
{
    /// <summary>As long as an entry may be: each of its members has a name in it.</summary>
    private const int MostBytes = 1 << 20;

    /// <summary>The number of a group.</summary>
    /// <param name="group">Its name, or its number.</param>
    /// <returns>Null when there is no group of this name.</returns>
    public static unsafe uint? Find(string group)
    {
        if (uint.TryParse(group, NumberStyles.None, CultureInfo.InvariantCulture, out uint number))
        {
            return number;
        }

        for (int bytes = 1024; bytes <= MostBytes; bytes *= 4)
        {
            var entry = default(Libc.group);
            byte[] buffer = new byte[bytes];
            fixed (byte* text = buffer)
            {
                Libc.group* found = null;
                int error = Libc.getgrnam_r(group, &entry, text, (nuint)bytes, &found);
                if (error != Errno.ERANGE)
                {
                    return error == 0 && found is not null ? entry.gr_gid : null;
                }
            }
        }

        return null;
    }

    /// <summary>Gives a file to a group; its owner stays. Zero, or a negative errno.</summary>
    public static int Give(string path, uint group) => Libc.chown(path, uint.MaxValue, group);
}
