// polyblk-manual FOLDER DATE: writes a manual page for each command of the program into the folder, polyblk.1, polyblk-volume.1,
// polyblk-volume-create.1 and so on. DATE (YYYY-MM-DD) stands at the foot of each.

using Polyblk.Cli.CommandLine;
using Polyblk.Manual;

string folder = args[0];
string date = args[1];
Directory.CreateDirectory(folder);
foreach (ManualPage page in ManualPage.All(CliProgram.DescribeAll(), date))
{
    File.WriteAllText(Path.Combine(folder, page.Name + ".1"), page.Text);
}
