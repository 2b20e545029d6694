// A volume that changes its shape while the daemon serves it: from the command over the control socket to the record.

using System.Text.Json;
using Polyblk.Host.State;

namespace Polyblk.Cli.Tests;

public sealed class ServedReshapeTests : DaemonTestBase
{
    [Fact]
    public async Task AVolumeGetsAParityMoreAndGivesItBackWhileItIsServed()
    {
        await CreateAsync("data", "raid5", 3);
        await StartAsync();
        await MustAsync("export", "add", "data", "--frontend", "nbd");
        long before = (await ShowAsync("data")).GetProperty("sizeBytes").GetInt64();
        await File.WriteAllBytesAsync(PathOf("more"), new byte[4 << 20]);
        string output = (await MustAsync("volume", "reshape", "data", "--level", "raid6", "--add", PathOf("more"))).Output;
        Assert.Contains("becomes raid6 over 4 drives, and is being moved to that shape.", output, StringComparison.Ordinal);
        Assert.DoesNotContain("grows", output, StringComparison.Ordinal);
        JsonElement shown = await WaitAsync();
        Assert.Equal(("raid6", 4), (shown.GetProperty("level").GetString(), Members(shown)));
        Assert.Equal("raid6", Store.Get("data").Level);

        // What was before the data, and nobody needs any more.
        Assert.InRange(await SettleAsync(before + 1), before + 1, before + (1 << 20));
        string events = (await MustAsync("events", "data", "--json")).Output;
        Assert.Contains("\"fromLevel\":\"raid5\",\"toLevel\":\"raid6\"", events, StringComparison.Ordinal);

        // Back again: by the next run.
        await EndAsync();
        await StartAsync();
        for (int i = 0; (await ExportsAsync())[0].Live is null && i < 300; i++)
        {
            await Task.Delay(100);
        }

        output = (await MustAsync("volume", "reshape", "data", "--level", "raid5")).Output;
        string until = "It grows when that is done. Until that is done it survives the loss of 1 of its drives.";
        Assert.Contains(until, output, StringComparison.Ordinal);
        shown = await WaitAsync();
        Assert.Equal(("raid5", 4), (shown.GetProperty("level").GetString(), Members(shown)));
        long size = await SettleAsync(before * 5 / 4);
        Assert.InRange(size, before * 5 / 4, before * 2);
        Assert.Equal(size, Store.Get("data").SizeBytes);
    }

    /// <summary>The size, when it is as large or some time has passed.</summary>
    private async Task<long> SettleAsync(long bytes)
    {
        long size = 0;
        for (int i = 0; size < bytes && i < 300; i++)
        {
            await Task.Delay(i == 0 ? 0 : 100);
            size = (await ShowAsync("data")).GetProperty("sizeBytes").GetInt64();
        }

        return size;
    }

    private static int Members(JsonElement shown) => shown.GetProperty("array").GetProperty("members").GetArrayLength();

    /// <summary>Waits for the end of the reshape.</summary>
    private async Task<JsonElement> WaitAsync()
    {
        for (int i = 0; i < 600; i++)
        {
            JsonElement shown = await ShowAsync("data");
            bool isLeft = shown.GetProperty("array").TryGetProperty("reshape", out JsonElement reshape)
                && reshape.ValueKind != JsonValueKind.Null;
            if (!isLeft)
            {
                return shown;
            }

            await Task.Delay(100);
        }

        throw new InvalidOperationException("The reshape does not end.");
    }
}
