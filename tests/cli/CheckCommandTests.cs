using Polyblk.Cli.CommandLine;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.Tests;

public class CheckCommandTests
{
    [Theory]
    [InlineData(Health.Optimal, 0)]
    [InlineData(Health.Dirty, 0)]
    [InlineData(Health.Resyncing, 0)]
    [InlineData(Health.Rebuilding, 1)]
    [InlineData(Health.Degraded, 1)]
    [InlineData(Health.Failed, 2)]
    [InlineData(Health.Unknown, 2)]
    public void HealthIsAnExitCode(Health health, int code) => Assert.Equal(code, CheckCommand.CodeOf(Volume(health)));

    [Fact]
    public void WhatTheDaemonCannotServeIsNotWellAndWhatItWaitsForIsLess()
    {
        Assert.Equal(2, CheckCommand.CodeOf(Volume(Health.Optimal) with { NotServed = "its socket is taken" }));
        Assert.Equal(1, CheckCommand.CodeOf(Volume(Health.Optimal) with { NotServed = "waits", Status = VolumeView.WaitingStatus }));
        Assert.Equal(1, CheckCommand.CodeOf(Volume(Health.Optimal) with
        {
            Array = new ArrayJson { Health = Health.Optimal, Warnings = ["blocks may be damaged"] },
        }));
    }

    [Fact]
    public async Task ExportsThatNobodyServesAreNotWell()
    {
        string directory = Directory.CreateTempSubdirectory("pbt").FullName;
        try
        {
            var directories = new StateDirectories(directory, Path.Combine(directory, "run"));
            string drive = Path.Combine(directory, "drive");
            File.WriteAllBytes(drive, new byte[1 << 20]);
            var record = new VolumeRecord { Name = "data", Uuid = Guid.NewGuid(), Level = "none", Drives = [drive], SizeBytes = 1 << 20 };
            Assert.Equal(0, CheckCommand.CodeOf(await LookAsync(record)));
            record = record with { Exports = [new ExportRecord { Frontend = "nbd" }] };
            Assert.Equal(2, CheckCommand.CodeOf(await LookAsync(record)));
            Assert.Equal(0, CheckCommand.CodeOf(await LookAsync(record with { Autostart = false })));

            Task<VolumeJson> LookAsync(VolumeRecord its) => VolumeView.FullAsync(directories, its, _ => { }, CancellationToken.None);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public void EveryHealthHasTheWordOfItsJson() => Assert.All(Enum.GetValues<Health>(), health => Assert.Equal(
        $"\"{health.Word()}\"", System.Text.Json.JsonSerializer.Serialize(health)));

    private static VolumeJson Volume(Health health) => new()
    {
        Name = "data", Uuid = Guid.NewGuid(), Level = "raid1", Drives = [], Status = VolumeView.StoppedStatus, Health = health,
    };
}
