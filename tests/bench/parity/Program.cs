// Measures the parity kernels against ISA-L, side by side, in GB/s of data (parity bytes not counted).
//
// Method: blocks of 64 KiB, page-aligned and used over and over, so that they are as deep in the caches as they fit; short slices
// of all contestants alternate, so that a neighbour's noise meets all alike; the median of the slices counts. 'ratio' is the
// median against ISA-L's of the same run. 'out of cache' walks over 512 MiB of blocks instead. clock=cpu counts the processor's
// time rather than the wall clock's: for a machine that has other work.
//
// Shapes of three parities and more are those of StripeCode: their encoding, and the making of lost blocks, from one to all that
// the parities make up for, each with and without P, beside ec_encode_data of ISA-L with as many rows (StripeBench.cs).
//
//   dotnet run -c Release --project tests/bench/parity -- [slices=15] [slice-ms=100] [kernels=avx2,portable]
//       [shapes=8+1,8+3] [places=in,out] [clock=cpu]
//
// The same as machine code, for comparison: dotnet publish tests/bench/parity -c Release -r linux-x64 -p:PublishAot=true
// -p:IlcInstructionSet=x86-64-v4%2cgfni

using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Polyblk.Parity.Bench;
using Polyblk.Raid.Parity;

const int Chunk = 64 << 10;
const long OutOfCacheBytes = 512L << 20;
int slices = Option("slices", 15), sliceMs = Option("slice-ms", 100);
bool byProcessor = Text("clock") == "cpu";
string? wanted = Text("kernels");
string shapes = Text("shapes") ?? "8+1,8+2,23+1,23+2,8+3,16+4", places = Text("places") ?? "in,out";
ParityKernels[] contestants = [.. ParityKernels.Available()
    .Where(kernels => wanted == null ? kernels.Name != ParityKernels.Scalar : wanted.Split(',').Contains(kernels.Name))];

Console.WriteLine($"{CpuModel()}; kernels {string.Join(", ", contestants.Select(k => k.Name))}; "
    + (IsaL.IsInstalled ? "ISA-L present" : "ISA-L absent: install libisal2 for ratios")
    + $"; {slices} slices of {sliceMs} ms; GB/s of data, median [min..max]");
foreach (string place in places.Split(','))
{
    foreach (string shape in shapes.Split(','))
    {
        string[] counts = shape.Split('+');
        int data = int.Parse(counts[0], CultureInfo.InvariantCulture);
        int parity = int.Parse(counts[1], CultureInfo.InvariantCulture);
        if (parity <= 2) Measure(data, parity, Chunk, place == "out");
        else MeasureStripes(data, parity, place == "out");
    }
}
return 0;

string? Text(string name) =>
    args.FirstOrDefault(arg => arg.StartsWith(name + "=", StringComparison.Ordinal))?[(name.Length + 1)..];

int Option(string name, int fallback) => Text(name) is { } text ? int.Parse(text, CultureInfo.InvariantCulture) : fallback;

static string CpuModel()
{
    string? line = File.ReadLines("/proc/cpuinfo").FirstOrDefault(l => l.StartsWith("model name", StringComparison.Ordinal));
    return line == null ? RuntimeInformation.ProcessArchitecture.ToString() : line[(line.IndexOf(':') + 1)..].Trim();
}

void MeasureStripes(int data, int parity, bool outOfCache)
{
    using var stripes = new StripeSet(data + parity, Chunk, outOfCache ? OutOfCacheBytes : 0);
    foreach (StripeCase work in StripeBench.Cases(data, parity))
    {
        using var bench = new StripeBench(contestants, data, parity, Chunk, stripes, work);
        Compare(bench.Runs, stripes, (double)data * Chunk, Title($"{data}+{parity} {work.Name}", Chunk, outOfCache));
    }
}

unsafe void Measure(int data, int parity, int chunk, bool outOfCache)
{
    using var stripes = new StripeSet(data + parity, chunk, outOfCache ? OutOfCacheBytes : 0);
    var runs = new List<(string Name, Action<nint> Run)>();
    if (IsaL.IsInstalled) runs.Add(("isa-l", blocks => RunIsaL(blocks, data, parity, chunk)));
    foreach (ParityKernels kernels in contestants)
    {
        runs.Add((kernels.Name, blocks => Generate(kernels, blocks, data, parity, chunk)));
        runs.Add((kernels.Name + " fused copy", blocks => Copy(kernels, stripes, blocks, data, parity, chunk, false)));
        if (outOfCache)
            runs.Add((kernels.Name + " fused copy, non-temporal", blocks => Copy(kernels, stripes, blocks, data, parity, chunk, true)));
    }
    Compare(runs, stripes, (double)data * chunk, Title($"{data}+{parity}", chunk, outOfCache));
}

string Title(string what, int chunk, bool outOfCache) => $"{what}, {chunk >> 10} KiB, {(outOfCache ? "out of cache" : "in cache")}";

void Compare(List<(string Name, Action<nint> Run)> runs, StripeSet stripes, double bytes, string title)
{
    var results = runs.Select(_ => new List<double>()).ToArray();
    for (int slice = -2; slice < slices; slice++)
    {
        for (int i = 0; i < runs.Count; i++)
        {
            double rate = Slice(runs[i].Run, stripes, bytes);
            if (slice >= 0) results[i].Add(rate);
        }
    }
    Console.WriteLine($"\n{title}");
    foreach (List<double> rates in results) rates.Sort();
    double peer = IsaL.IsInstalled ? results[0][slices / 2] : double.NaN;
    for (int i = 0; i < runs.Count; i++)
    {
        double median = results[i][slices / 2];
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"  {runs[i].Name,-36} {median,7:F1} [{results[i][0]:F1}..{results[i][^1]:F1}]  ratio {median / peer:F2}"));
    }
}

double Slice(Action<nint> run, StripeSet stripes, double bytesPerRun)
{
    TimeSpan start = Now(), elapsed;
    long count = 0;
    do
    {
        for (int i = 0; i < 16; i++, count++) run(stripes.Next());
        elapsed = Now() - start;
    }
    while (elapsed.TotalMilliseconds < sliceMs);
    return bytesPerRun * count / elapsed.TotalSeconds / 1e9;
}

TimeSpan Now() => byProcessor ? Environment.CpuUsage.TotalTime : TimeSpan.FromSeconds((double)Stopwatch.GetTimestamp() / Stopwatch.Frequency);

static unsafe void RunIsaL(nint blocks, int data, int parity, int chunk)
{
    int failed = parity == 1
        ? IsaL.XorGenerate(data + 1, chunk, (void**)blocks)
        : IsaL.PqGenerate(data + 2, chunk, (void**)blocks);
    if (failed != 0) throw new InvalidOperationException("ISA-L refused the blocks.");
}

static unsafe void Generate(ParityKernels kernels, nint blocks, int data, int parity, int chunk)
{
    var list = (byte**)blocks;
    if (parity == 1) kernels.Xor(list, data, list[data], (nuint)chunk);
    else kernels.GeneratePq(list, data, list[data], list[data + 1], (nuint)chunk);
}

static unsafe void Copy(ParityKernels kernels, StripeSet stripes, nint blocks, int data, int parity, int chunk, bool nonTemporal)
{
    var list = (byte**)blocks;
    if (parity == 1) kernels.CopyXor(list, stripes.Staging, data, list[data], (nuint)chunk, nonTemporal);
    else kernels.CopyPq(list, stripes.Staging, data, list[data], list[data + 1], (nuint)chunk, nonTemporal);
}
