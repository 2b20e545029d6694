// A parity array is killed under writes and loses a drive at the same time: it starts without force, and what was not being
// written is there. Real processes; what a loss of power does is shown by tests/simulation.

using System.Text.Json;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Host;

namespace Polyblk.Cli.Process.Tests;

public sealed class JournalTests : IDisposable
{
    private const int SigKill = 9;
    private const int SigTerm = 15;
    private const int BlockBytes = 64 << 10;
    private const int Blocks = 96;
    private const int InFlight = 16;

    private readonly PolyblkSandbox _sandbox = new();

    public void Dispose() => _sandbox.Dispose();

    [Theory]
    [InlineData("raid5", 4, 1)]
    [InlineData("raid6", 5, 2)]
    public void WhatWasNotWrittenIsThereAfterAKillAndTheLossOfDrives(string level, int members, int lost)
    {
        _sandbox.Must(["volume", "create", "data", "--level", level, .. Enumerable.Range(0, members).Select(i => $"file:{Member(i)},size=24MiB")]);
        Assert.Contains("from the journal", _sandbox.Must("volume", "show", "data").Output, StringComparison.Ordinal);
        for (int round = 0; round < 4; round++)
        {
            ServeProcess serve = _sandbox.Serve("data", "--frontend", "vhost-user");
            using (VhostUserClient client = Attach(serve.Socket()))
            {
                DriverCalls.WriteAll(client, seed: round, Blocks);
                DriverCalls.SubmitWrites(client, seed: 100 + round, firstBlock: 0, InFlight);
                serve.End(SigKill);
            }

            int[] away = [.. Enumerable.Range(0, lost).Select(i => (round + i) % members)];
            Array.ForEach(away, i => File.Move(Member(i), Member(i) + ".away"));
            ServeProcess degraded = _sandbox.Serve("data", "--allow-degraded", "--no-rebuild", "--frontend", "vhost-user");
            Assert.StartsWith("degraded", Show().GetProperty("health").GetString(), StringComparison.Ordinal);
            Assert.Equal(lost, Show().GetProperty("warnings").GetArrayLength());
            using (VhostUserClient client = Attach(degraded.Socket()))
            {
                DriverCalls.CheckRange(client, seed: round, InFlight, Blocks - InFlight);

                // They are members of stripes that were cut off; the next round's loss shows whether their parities fit.
                DriverCalls.WriteAll(client, seed: round, Blocks);
                client.Detach();
            }

            Assert.Equal(0, degraded.End(SigTerm));
            Array.ForEach(away, i => File.Move(Member(i) + ".away", Member(i)));
            ServeProcess whole = _sandbox.Serve("data", "--frontend", "vhost-user");
            Wait.Until(() => Show().GetProperty("health").GetString() == "optimal", "the drives to be filled");
            Assert.Equal(0, whole.End(SigTerm));
        }
    }

    [Fact]
    public void TheConsistencyIsChosenShownAndChanged()
    {
        string[] drives = [.. Enumerable.Range(0, 3).Select(i => $"file:{Member(i)},size=24MiB")];
        RunOutput refused = _sandbox.Run(["volume", "create", "data", "--level", "raid1", "--consistency", "journal", .. drives]);
        Assert.Equal(4, refused.ExitCode);
        Assert.Contains("needs no journal", refused.Errors, StringComparison.Ordinal);
        _sandbox.Must(["volume", "create", "data", "--level", "raid5", "--consistency", "bitmap", .. drives]);
        Assert.Equal("bitmap", Show().GetProperty("consistency").GetString());
        Assert.Contains("is not being served", _sandbox.Run("volume", "set", "data", "--consistency", "journal").Errors, StringComparison.Ordinal);
        ServeProcess serve = _sandbox.Serve("data", "--frontend", "vhost-user");
        _sandbox.Must("volume", "set", "data", "--consistency", "journal");
        Assert.Equal("journal", Show().GetProperty("consistency").GetString());
        Assert.Equal(0, serve.End(SigTerm));
        Assert.Equal("journal", Show().GetProperty("consistency").GetString());
    }

    private static VhostUserClient Attach(string socket) =>
        new(new VhostUserClientOptions { SocketPath = socket, Queues = 1, Depth = InFlight, BufferBytes = BlockBytes });

    private JsonElement Show() => _sandbox.Must("volume", "show", "data", "--json").Json.GetProperty("array");

    private string Member(int index) => _sandbox.PathOf($"m{index}");
}
