<#
.SYNOPSIS
    Installs, removes or shows the Cumulus agent as a Windows service.

.DESCRIPTION
    A Python program cannot answer the service manager by itself (sc.exe alone would end it after 30 seconds), so nssm.exe
    (https://nssm.cc, public domain) stands between the two: it starts the agent, starts it again where it ended, and ends it with
    Ctrl-C, upon which the agent ends its transfers in order. Run in a PowerShell of an administrator.

.EXAMPLE
    .\service.ps1 -Action Install -Python C:\Cumulus\venv -Config C:\ProgramData\Cumulus\cumulus-agent.toml -Account '.\cumulus'
#>
[CmdletBinding(SupportsShouldProcess = $true)]
param(
    [Parameter(Mandatory = $true)]
    [ValidateSet('Install', 'Remove', 'Show')]
    [string] $Action,

    # The virtual environment that the agent is installed in.
    [string] $Python = 'C:\Cumulus\venv',

    [string] $Config = (Join-Path $env:ProgramData 'Cumulus\cumulus-agent.toml'),

    # Queue, ssh key, host key and logs.
    [string] $AgentHome = (Join-Path $env:ProgramData 'Cumulus\agent'),

    [string] $Nssm = 'nssm.exe',

    # An account that may read the instruments' shares; its password is asked for. Default: LocalService, which has no network rights.
    [string] $Account = ''
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$Name = 'CumulusAgent'

function Invoke-Nssm {
    param([Parameter(Mandatory = $true)] [string[]] $Words)
    & $Nssm @Words
    if ($LASTEXITCODE -ne 0) {
        throw "nssm $($Words[0]) $($Words[1]) ended with $LASTEXITCODE"
    }
}

function Protect-Folder {
    # The ssh key lies here: administrators, the system and the service's account, nobody else.
    param([Parameter(Mandatory = $true)] [string] $Path, [Parameter(Mandatory = $true)] [string] $User)
    $grants = @('*S-1-5-32-544:(OI)(CI)F', '*S-1-5-18:(OI)(CI)F', "${User}:(OI)(CI)M")
    & icacls.exe $Path /inheritance:r /grant:r @grants | Out-Null
    if ($LASTEXITCODE -ne 0) {
        throw "the rights of $Path could not be set"
    }
}

function Install-Agent {
    $program = Join-Path $Python 'Scripts\cumulus-agent.exe'
    foreach ($file in @($program, $Config)) {
        if (-not (Test-Path -LiteralPath $file -PathType Leaf)) {
            throw "there is no $file"
        }
    }
    # icacls does not know the dot that stands for this computer.
    $user = if ($Account) { $Account -replace '^\.\\', "$env:COMPUTERNAME\" } else { 'NT AUTHORITY\LocalService' }
    $null = New-Item -ItemType Directory -Force -Path $AgentHome
    Protect-Folder -Path $AgentHome -User $user

    Invoke-Nssm @('install', $Name, $program, 'serve')
    Invoke-Nssm @('set', $Name, 'DisplayName', 'Cumulus agent')
    Invoke-Nssm @('set', $Name, 'Description', 'Sends files to the storage of the Cumulus controller')
    Invoke-Nssm @('set', $Name, 'AppDirectory', $AgentHome)
    Invoke-Nssm @('set', $Name, 'AppEnvironmentExtra', "CUMULUS_AGENT_HOME=$AgentHome", "CUMULUS_AGENT_CONFIG=$Config", 'PYTHONUTF8=1')
    Invoke-Nssm @('set', $Name, 'Start', 'SERVICE_DELAYED_AUTO_START')
    Invoke-Nssm @('set', $Name, 'AppExit', 'Default', 'Restart')
    Invoke-Nssm @('set', $Name, 'AppRestartDelay', '5000')
    # Ctrl-C first, and time for the transfers to end in order.
    Invoke-Nssm @('set', $Name, 'AppStopMethodConsole', '25000')
    if ($Account) {
        $credential = Get-Credential -UserName $Account -Message 'The password of the account that the agent runs under'
        Invoke-Nssm @('set', $Name, 'ObjectName', $Account, $credential.GetNetworkCredential().Password)
    }
    else {
        Invoke-Nssm @('set', $Name, 'ObjectName', $user)
    }
    Start-Service -Name $Name
    Get-Service -Name $Name
}

function Remove-Agent {
    Stop-Service -Name $Name -ErrorAction SilentlyContinue
    Invoke-Nssm @('remove', $Name, 'confirm')
    Write-Output "The service is removed; $AgentHome with the queue and the key stays."
}

switch ($Action) {
    'Install' { if ($PSCmdlet.ShouldProcess($Name, 'install')) { Install-Agent } }
    'Remove' { if ($PSCmdlet.ShouldProcess($Name, 'remove')) { Remove-Agent } }
    'Show' { Get-Service -Name $Name }
}
