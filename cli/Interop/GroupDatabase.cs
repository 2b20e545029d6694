using System.Globalization;
using System.Runtime.InteropServices;

namespace Polyblk.Cli.Interop;

/// <summary>The groups of this host, as its name service knows them (getgrnam(3)), and who owns a file.</summary>
internal static partial class GroupDatabase
{
    private const int ERANGE = 34;

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
            var entry = default(Entry);
            byte[] buffer = new byte[bytes];
            fixed (byte* text = buffer)
            {
                Entry* found = null;
                int error = getgrnam_r(group, &entry, text, (nuint)bytes, &found);
                if (error != ERANGE)
                {
                    return error == 0 && found is not null ? entry.Gid : null;
                }
            }
        }

        return null;
    }

    /// <summary>Gives a file to a group; its owner stays. Zero, or a negative errno.</summary>
    public static int Give(string path, uint group) => chown(path, uint.MaxValue, group) < 0 ? -Marshal.GetLastPInvokeError() : 0;

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static unsafe partial int getgrnam_r(string name, Entry* entry, byte* buffer, nuint bytes, Entry** found);

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int chown(string path, uint owner, uint group);

    /// <summary>struct group of grp.h.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private unsafe struct Entry
    {
        public byte* Name;
        public byte* Password;
        public uint Gid;
        public byte** Members;
    }
}
