using Polyblk.Cli.CommandLine;
using Polyblk.Host.Model;
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
            Array = new ArrayJson { Health = Health.Optimal, State = "optimal", Warnings = ["blocks may be damaged"] },
        }));
    }

    [Fact]
    public void EveryHealthHasTheWordOfItsJson() => Assert.All(Enum.GetValues<Health>(), health => Assert.Equal(
        $"\"{health.Word()}\"", System.Text.Json.JsonSerializer.Serialize(health)));

    private static VolumeJson Volume(Health health) => new()
    {
        Name = "data", Uuid = Guid.NewGuid(), Level = "raid1", Drives = [], Status = VolumeView.StoppedStatus, Health = health,
    };
}
