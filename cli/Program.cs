using Polyblk.Cli.CommandLine;

return await CliProgram.RunAsync(args, Console.Out, Console.Error).ConfigureAwait(false);
