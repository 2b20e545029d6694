using System.Runtime.InteropServices;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Results;

namespace Polyblk.Compare.Running;

/// <summary>Reads what the figures belong to: the processor, the kernel, the place of the files.</summary>
internal static class HostReader
{
    public static HostFacts Read(ScratchSpace scratch)
    {
        string[] processor = [.. File.ReadLines("/proc/cpuinfo").TakeWhile(l => l.Length > 0)];
        string? ValueOf(string name) => processor.FirstOrDefault(l => l.StartsWith(name, StringComparison.Ordinal))?.Split(':', 2)[1].Trim();
        return new HostFacts(
            ValueOf("model name") ?? RuntimeInformation.ProcessArchitecture.ToString(),
            Environment.ProcessorCount,
            ValueOf("flags")?.Split(' ').Contains("hypervisor"),
            File.ReadAllText("/proc/sys/kernel/osrelease").Trim(),
            scratch.Directory,
            scratch.Reason);
    }
}
