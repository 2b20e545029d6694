using System.Diagnostics;

namespace Polyblk.Drives.Host.Tests;

/// <summary>A loop device over a sparse file, where the host lets us make one.</summary>
internal sealed class LoopDevice : IDisposable
{
    private readonly string _file;

    private LoopDevice(string path, string file)
    {
        Path = path;
        _file = file;
    }

    public string Path { get; }

    /// <summary>
    /// Makes one with direct I/O to its file; fails the test where that is not possible (no root, no loop driver).
    /// </summary>
    public static LoopDevice Create(long sizeBytes, int sectorSize)
    {
        string file = System.IO.Path.GetTempFileName();
        using (FileStream stream = File.OpenWrite(file))
        {
            stream.SetLength(sizeBytes);
        }

        (int code, string output) = Run("losetup", "--find", "--show", "--direct-io=on", $"--sector-size={sectorSize}", file);
        if (code == 0)
        {
            return new LoopDevice(output.Trim(), file);
        }

        File.Delete(file);
        throw new InvalidOperationException($"This test needs root and a free loop device: {output}");
    }

    /// <summary>Makes the file larger and tells the device.</summary>
    public void Grow(long sizeBytes)
    {
        using (FileStream stream = File.OpenWrite(_file))
        {
            stream.SetLength(sizeBytes);
        }

        (int code, string output) = Run("losetup", "--set-capacity", Path);
        Assert.True(code == 0, output);
    }

    public void Dispose()
    {
        _ = Run("losetup", "--detach", Path);
        File.Delete(_file);
    }

    private static (int Code, string Output) Run(string program, params string[] arguments)
    {
        try
        {
            using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            string output = process.StandardOutput.ReadToEnd() + process.StandardError.ReadToEnd();
            process.WaitForExit();
            return (process.ExitCode, output);
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            return (127, $"{program}: {e.Message}");
        }
    }
}
