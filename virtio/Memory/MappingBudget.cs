// How many mappings of files this process takes.
//
// A process has a limited number of map entries (vm.max_map_count, 65530 by default), and where they are used up, nothing in it
// works any more: no thread starts, no garbage is collected, and it ends. A mapping takes one entry, and one more when its end
// was lost (FaultGuard). So mappings take half of the entries at most, and the rest is the runtime's.

using System.Globalization;
using Polyblk.Core.Interop;

namespace Polyblk.Virtio.Memory;

/// <summary>The mappings of this process. Any thread.</summary>
internal static class MappingBudget
{
    private const int DefaultMaxMapCount = 65530;
    private const int EntriesOfAMapping = 2;

    /// <summary>The budget: never more than can be guarded.</summary>
    public static ProcessBudget Mappings { get; } = new(
        "regions of shared memory",
        Math.Min(FaultGuard.Capacity, MaxMapCount() / 2 / EntriesOfAMapping),
        "share fewer, larger regions, or serve fewer guests in one process "
            + "(below 16384 regions a larger vm.max_map_count allows more)");

    private static int MaxMapCount()
    {
        try
        {
            return int.Parse(File.ReadAllText("/proc/sys/vm/max_map_count"), CultureInfo.InvariantCulture);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException or OverflowException)
        {
            return DefaultMaxMapCount; // hidden in some containers
        }
    }
}
