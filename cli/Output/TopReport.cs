using System.Globalization;
using Polyblk.Host.Model;

namespace Polyblk.Cli.Output;

/// <summary>The tables of <c>polyblk top</c>.</summary>
internal static class TopReport
{
    private const double Million = 1e6;

    /// <summary>Their lines.</summary>
    /// <param name="interval">What they show.</param>
    /// <param name="width">Columns of the terminal.</param>
    public static IEnumerable<string> Render(TopJson interval, int width)
    {
        var traffic = new TextTable("READ/S", "WRITE/S", "R MB/S", "W MB/S", "MEAN us", "P99 us", "QD", "WHAT");
        foreach (TopVolumeJson volume in interval.Volumes)
        {
            AddRow(traffic, volume.Total, $"{volume.Name}: {volume.Health?.Word() ?? volume.State.Word()}");
            foreach (TopExportJson export in volume.Exports)
            {
                string sessions = export.Sessions == 1 ? "1 session" : $"{export.Sessions} sessions";
                AddRow(traffic, export.Traffic, $"{export.Id}: {export.State}, {sessions}{Errors(export.Traffic)}");
            }

            foreach (TopDriveJson drive in volume.Drives)
            {
                string name = $"{volume.Name} {drive.Member} {drive.Drive}";
                AddRow(traffic, drive.Traffic, $"{name}: {drive.State}{Errors(drive.Traffic)}");
            }
        }

        var reactors = new TextTable("BUSY %", "SPIN %", "SLEEP %", "REQUEST/S", "SLEEP/S", "QUEUES", "REACTOR");
        foreach (TopReactorJson reactor in interval.Reactors)
        {
            reactors.AddRow(
                Right(reactor.BusyPercent, 6), Right(reactor.SpinPercent, 6), Right(reactor.SleepPercent, 7),
                Right(reactor.RequestsPerSecond, 9), Right(reactor.SleepsPerSecond, 7), Whole(reactor.Queues, 6), reactor.Name);
        }

        return [.. traffic.Render(width), string.Empty, .. reactors.Render(width)];
    }

    private static void AddRow(TextTable table, TopTrafficJson traffic, string what) => table.AddRow(
        Right(traffic.ReadsPerSecond, 7),
        Right(traffic.WritesPerSecond, 7),
        Right(traffic.ReadBytesPerSecond / Million, 6),
        Right(traffic.WriteBytesPerSecond / Million, 6),
        Right(traffic.Latency?.MeanUs, 7),
        Right(traffic.Latency?.P99Us, 6),
        Whole(traffic.InFlight, 2),
        what);

    private static string Errors(TopTrafficJson traffic) =>
        traffic.Errors == 0 ? string.Empty : string.Create(CultureInfo.InvariantCulture, $", {traffic.Errors} errors");

    private static string Whole(long number, int width) => number.ToString(CultureInfo.InvariantCulture).PadLeft(width);

    private static string Right(double? number, int width) => Figure.Of(number).PadLeft(width);
}
