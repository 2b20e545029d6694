// The part of an initramfs that belongs to one guest: programs of the host with every library that their loader names, files,
// texts, the .NET runtime that this process runs on, and the script.

namespace Polyblk.Machine;

/// <summary>Collects files, and writes them behind the prepared archives.</summary>
internal sealed class GuestInitramfs
{
    private const string DotNetFolder = "/usr/share/dotnet";
    private const string AspNet = "Microsoft.AspNetCore.App";
    private readonly List<string> _programs = [];
    private readonly List<string> _ownersOfLibraries = [];
    private readonly List<(string Source, string Path)> _files = [];
    private readonly List<(string Path, string Text)> _texts = [];
    private readonly SortedDictionary<string, string> _runtimeSettings = new(StringComparer.Ordinal) { ["DOTNET_EnableWriteXorExecute"] = "0" };
    private bool _hasDotNet;

    public string Script { get; set; } = "";

    /// <summary>Comes before the script.</summary>
    public string Prelude { get; set; } = "";

    public void AddProgram(string path) => _programs.Add(path);

    /// <summary>Adds what the loader needs for a program that comes by another way.</summary>
    public void AddLibrariesOf(string program) => _ownersOfLibraries.Add(program);

    public void AddFile(string source, string guestPath) => _files.Add((source, guestPath));

    public void AddText(string guestPath, string text) => _texts.Add((guestPath, text));

    public void AddDotNet() => _hasDotNet = true;

    public void SetRuntime(string variable, string value) => _runtimeSettings[variable] = value;

    /// <summary>Writes the image's archives and this one.</summary>
    public void Write(BootImage image, string path)
    {
        using FileStream output = File.Create(path, 1 << 20);
        foreach (string prepared in image.InitramfsPaths)
        {
            using FileStream archive = File.OpenRead(prepared);
            archive.CopyTo(output);
            // An archive may begin at any multiple of four (buffer-format.rst); one that was compressed ends anywhere.
            output.Write(new byte[(4 - (int)(output.Position & 3)) & 3]);
        }

        using var own = new CpioArchive(output);
        own.AddText("/rig/run", ". /rig/lib.sh\n" + Prelude + Script);
        foreach ((string guestPath, string text) in _texts) own.AddText(guestPath, text);
        foreach ((string source, string guestPath) in _files)
        {
            if (Directory.Exists(source)) own.AddFolder(source, guestPath);
            else own.AddFile(source, guestPath);
        }

        foreach (string program in _programs) AddWithLibraries(own, program, program);
        foreach (string program in _ownersOfLibraries) AddLibraries(own, program);
        if (_hasDotNet) WriteDotNet(own);
    }

    private void WriteDotNet(CpioArchive archive)
    {
        string runtime = RuntimeFolder()
            ?? throw new MachineException("This program runs without the .NET runtime and cannot put it into a machine.");
        string root = Path.GetFullPath(Path.Combine(runtime, "..", "..", ".."));
        string version = Path.GetFileName(runtime);
        AddWithLibraries(archive, Path.Combine(root, "dotnet"), DotNetFolder + "/dotnet");
        archive.AddFolder(Path.Combine(root, "host", "fxr", version), $"{DotNetFolder}/host/fxr/{version}");
        archive.AddFolder(runtime, $"{DotNetFolder}/shared/Microsoft.NETCore.App/{version}");
        if (_files.Any(f => Directory.Exists(f.Source) && NeedsAspNet(f.Source)))
        {
            archive.AddFolder(Path.Combine(root, "shared", AspNet, version), $"{DotNetFolder}/shared/{AspNet}/{version}");
        }

        string settings = string.Join(' ', _runtimeSettings.Select(s => $"{s.Key}={ShellWord.Quote(s.Value)}"));
        archive.AddText("/usr/bin/dotnet", $"#!/bin/sh\nexport {settings}\nexec {DotNetFolder}/dotnet \"$@\"\n");
        AddLibraries(archive, Path.Combine(runtime, "libcoreclr.so"));
        // The cryptography library looks OpenSSL up by itself.
        foreach (string library in new[] { "libssl.so.3", "libcrypto.so.3" })
        {
            string path = "/usr/lib/x86_64-linux-gnu/" + library;
            if (File.Exists(path)) AddWithLibraries(archive, path, path);
        }
    }

    /// <summary>
    /// Where the assemblies of the runtime are that runs this process; null where it is machine code by itself.
    /// </summary>
    private static string? RuntimeFolder()
    {
        var assemblies = AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES") as string;
        return assemblies?.Split(Path.PathSeparator).Where(path => Path.GetFileName(path) == "System.Private.CoreLib.dll").Select(Path.GetDirectoryName).FirstOrDefault();
    }

    /// <summary>Whether a program in this folder asks for the larger framework.</summary>
    private static bool NeedsAspNet(string folder) => Directory.EnumerateFiles(folder, "*.runtimeconfig.json")
        .Any(f => File.ReadAllText(f).Contains(AspNet, StringComparison.Ordinal));

    private static void AddWithLibraries(CpioArchive archive, string source, string guestPath)
    {
        archive.AddFile(source, guestPath);
        AddLibraries(archive, source);
    }

    private static void AddLibraries(CpioArchive archive, string binary)
    {
        foreach (string library in HostProgram.Libraries(binary)) archive.AddFile(library, library);
    }
}
