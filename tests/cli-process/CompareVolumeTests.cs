// polyblk compare VOLUME: a volume with data that somebody needs.

using System.Security.Cryptography;
using Polyblk.Compare.Clients.Nbd;
using Polyblk.Compare.Results;
using Polyblk.Host;

namespace Polyblk.Cli.Process.Tests;

public sealed class CompareVolumeTests : IDisposable
{
    private const int SigTerm = 15;
    private const int Piece = 1 << 20;

    private static readonly string[] s_short = ["--rounds", "1", "--runtime", "0.05", "--simulated", "0"];

    private readonly PolyblkSandbox _sandbox = new();

    public void Dispose() => _sandbox.Dispose();

    [Fact]
    public void AVolumeIsOnlyReadAndStaysAsItWasToTheByte()
    {
        byte[] before = Make("data", "raid5", 3);
        byte[][] members = SumMembers("data", 3);
        Comparison results = Compare("data");
        Assert.Equal(members, SumMembers("data", 3));
        Assert.Equal(before, Sum("data"));

        Assert.Equal(("data", "raid5", 3, false), (results.Volume.Name, results.Volume.Level, results.Volume.Members.Count, results.Volume.Degraded));
        foreach (string id in (string[])["bare-drive@host", "array@host", "vhost-user-1q@host", "vhost-user-2q@host", "nbd@host"])
        {
            MethodFacts method = results.Method(id);
            Assert.True(method is { Available: true, Verification: Verification.Passed }, $"{id}: {method.Reason}");
            Assert.Contains("nothing was written", method.VerificationDetail, StringComparison.Ordinal);
            Assert.Equal(
                results.Workloads.Where(w => w.LeftOut is null).Select(w => w.Name), results.Runs.Where(r => r.Method == id && r is { Iops: > 0, Errors: 0 }).Select(r => r.Workload));
        }

        Assert.Equal(3, results.Workloads.Count(w => w.LeftOut is null));
        WorkloadFacts write = Assert.Single(results.Workloads, w => w.LeftOut is not null);
        Assert.Equal(AccessPattern.RandomWrite, write.Pattern);
        Assert.Contains("polyblk compare data --destroy-data", write.LeftOut, StringComparison.Ordinal);
        Assert.Empty(results.Restarts);
        Assert.Equal([AccessPattern.RandomRead, AccessPattern.RandomRead, AccessPattern.SequentialRead], results.Efficiency.Select(e => e.Pattern));
        Assert.All(results.Methods.Where(m => m.Role == MethodRole.Peer), m => Assert.Contains("on scratch files", Assert.Single(m.Remedies), StringComparison.Ordinal));
        Assert.Equal("optimal", _sandbox.Must("volume", "show", "data", "--json").Json.GetProperty("array").GetProperty("health").GetString());
    }

    [Fact]
    public void WithTheUsersWordWritesAreMeasuredAndTargetsKilled()
    {
        byte[] before = Make("data", "raid1", 2);
        Comparison results = Compare("data", "--destroy-data", "--methods", "vhost-user-1q");
        Assert.NotEqual(before, Sum("data"));
        Assert.All(results.Workloads, w => Assert.Null(w.LeftOut));
        Assert.Equal(results.Workloads.Select(w => w.Name), results.Runs.Where(r => r.Method == "vhost-user-1q@host").Select(r => r.Workload));
        RestartTest killed = Assert.Single(results.Restarts);
        Assert.True(killed is { IoErrors: 0, Verification: Verification.Passed }, killed.Detail);

        // A drive alone is read only all the same: the array on it shall still be one.
        Assert.Equal(3, results.Runs.Count(r => r.Method == "bare-drive@host"));
        Assert.Contains(results.Notes, n => n.StartsWith("bare drive has no figures of 4 KiB random write", StringComparison.Ordinal));
        Assert.Contains(results.Notes, n => n.Contains("was overwritten", StringComparison.Ordinal));
    }

    [Fact]
    public void ADegradedVolumeIsMeasuredAndItsStateSaid()
    {
        byte[] before = Make("data", "raid5", 3);
        byte[][] members = SumMembers("data", 3);
        File.Move(Member("data", 0), _sandbox.PathOf("away"));
        Comparison results = Compare("data", "--methods", "nbd,array");
        Assert.True(results.Volume.Degraded);
        Assert.Contains(results.Notes, n => n.Contains("2 of 3 members", StringComparison.Ordinal));
        Assert.True(results.Method("nbd@host") is { Available: true, Verification: Verification.Passed });
        Assert.Contains(Member("data", 1), results.Method("bare-drive@host").Commands.Concat(results.Volume.Members));

        // Nothing was written without the member that was away: it belongs to the array as before.
        File.Move(_sandbox.PathOf("away"), Member("data", 0));
        Assert.Equal(members, SumMembers("data", 3));
        Assert.Equal("optimal", _sandbox.Must("volume", "show", "data", "--json").Json.GetProperty("array").GetProperty("health").GetString());
        Assert.Equal(before, Sum("data"));
    }

    [Fact]
    public void OneDriveAsItIsHasNoArrayAndNoEfficiency()
    {
        byte[] before = Make("one", "none", 1);
        Comparison results = Compare("one", "--methods", "vhost-user-2q");
        Assert.Equal(before, Sum("one"));
        Assert.DoesNotContain(results.Methods, m => m.Id is "array@host" or "mdadm@host");
        Assert.Empty(results.Efficiency);
        Assert.Equal(3, results.Runs.Count(r => r.Method == "vhost-user-2q@host"));
    }

    [Fact]
    public void WhatAnotherProcessServesOrNobodyHasIsRefused()
    {
        Make("data", "raid1", 2);
        ServeProcess serving = _sandbox.Serve("data", "--frontend", "nbd", "--socket", _sandbox.PathOf("n.sock"));
        RunOutput refused = _sandbox.Run("compare", "data");
        Assert.Equal(4, refused.ExitCode);
        Assert.Contains("polyblk volume stop data", refused.Errors, StringComparison.Ordinal);
        Assert.Equal(0, serving.End(SigTerm));

        Assert.Contains("Did you mean 'data'?", _sandbox.Run("compare", "dat").Errors, StringComparison.Ordinal);
        Assert.Contains("describe scratch volumes", _sandbox.Run("compare", "data", "--level", "raid0").Errors, StringComparison.Ordinal);
        Assert.Contains("name it", _sandbox.Run("compare", "--destroy-data").Errors, StringComparison.Ordinal);
        Assert.Contains("leave VOLUME out", _sandbox.Run("compare", "data", "--inside-guest").Errors, StringComparison.Ordinal);

        string job = _sandbox.PathOf("write.fio");
        File.WriteAllText(job, "[read]\nrw=read\n[also]\nrw=randrw\n");
        RunOutput writes = _sandbox.Run("compare", "data", "--fio", job);
        Assert.Equal(2, writes.ExitCode);
        Assert.Contains("--destroy-data", writes.Errors, StringComparison.Ordinal);
    }

    private Comparison Compare(params string[] arguments)
    {
        string file = _sandbox.PathOf("results.json");
        _sandbox.Must(["compare", .. arguments, .. s_short, "--json", file]);
        return ComparisonFile.Parse(File.ReadAllText(file));
    }

    private byte[][] SumMembers(string volume, int members) =>
        [.. Enumerable.Range(0, members).Select(i => _sandbox.Sum($"{volume}{i}.img"))];

    private string Member(string volume, int index) => _sandbox.PathOf($"{volume}{index}.img");

    /// <summary>Makes a volume, fills it, and returns the sum of what it holds.</summary>
    private byte[] Make(string name, string level, int members)
    {
        _sandbox.Must(["volume", "create", name, "--level", level, .. Enumerable.Range(0, members).Select(i => $"file:{Member(name, i)},size=40MiB")]);
        var random = new Random(7);
        byte[] data = new byte[Piece];
        return WithContent(name, (client, offset, length) =>
        {
            random.NextBytes(data);
            Assert.Equal(0, client.Write(offset, data.AsSpan(0, length)));
            return data;
        });
    }

    /// <summary>The sum of everything that a volume holds, read in a process of its own.</summary>
    private byte[] Sum(string name)
    {
        byte[] data = new byte[Piece];
        return WithContent(name, (client, offset, length) =>
        {
            Assert.Equal(0, client.Read(offset, data.AsSpan(0, length)));
            return data;
        });
    }

    private byte[] WithContent(string name, Func<NbdClient, long, int, byte[]> each)
    {
        ServeProcess serving = _sandbox.Serve(name, "--frontend", "nbd", "--socket", _sandbox.PathOf("c.sock"));
        using var sum = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        using (var client = new NbdClient(serving.Socket(), name))
        {
            for (long at = 0; at < client.SizeBytes; at += Piece)
            {
                int length = (int)Math.Min(Piece, client.SizeBytes - at);
                sum.AppendData(each(client, at, length), 0, length);
            }
        }

        Assert.Equal(0, serving.End(SigTerm));
        return sum.GetHashAndReset();
    }
}
