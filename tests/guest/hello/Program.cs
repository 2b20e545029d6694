// Runs inside a guest to show that the shared .NET runtime works there: says what it runs on, then prints the SHA-256 of the
// first BYTES bytes of FILE (a device too).

using System.Buffers;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

if (args.Length != 2 || !long.TryParse(args[1], out long remaining))
{
    Console.Error.WriteLine("usage: hello FILE BYTES");
    return 2;
}

Console.WriteLine($"{RuntimeInformation.FrameworkDescription} on {Environment.OSVersion.VersionString}, {Environment.ProcessorCount} CPUs");
using FileStream file = File.OpenRead(args[0]);
using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
byte[] buffer = ArrayPool<byte>.Shared.Rent(1 << 20);
while (remaining > 0)
{
    int read = file.Read(buffer, 0, (int)Math.Min(buffer.Length, remaining));
    if (read == 0) break;
    hash.AppendData(buffer, 0, read);
    remaining -= read;
}

Console.WriteLine(Convert.ToHexStringLower(hash.GetHashAndReset()));
return 0;
