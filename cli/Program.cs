using Polyblk.Cli.CommandLine;
using Polyblk.Cli.Output;

StandardStreams.Prepare();
return await CliProgram.RunAsync(args, Console.Out, new ErrorWriter(Console.Error)).ConfigureAwait(false);
