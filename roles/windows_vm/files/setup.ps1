# Finishes the unattended installation of Windows: drivers, remote management over TLS, firewall, programs.
# A task runs it as SYSTEM at every start until it is done. Each step leaves alone what is as it should be.

$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$Base = 'C:\ProgramData\onprem'
$Source = Join-Path $Base 'setup'
$Done = Join-Path $Base 'packages'
$script:Restart = $false

# What the node asks the guest agent for: "installing", "failed at" with the step, and in the end "installed".
function Write-State([string] $Text) {
    [System.IO.File]::WriteAllText((Join-Path $Base 'state'), $Text)
}

function Wait-Setup {
    # The answer file may go only once Windows' own setup has read all of it.
    $limit = (Get-Date).AddMinutes(60)
    do {
        $setup = Get-ItemProperty -Path 'HKLM:\SYSTEM\Setup'
        $busy = $setup.SystemSetupInProgress -ne 0 -or $setup.OOBEInProgress -ne 0
        if ($busy) { Start-Sleep -Seconds 5 }
    } while ($busy -and (Get-Date) -lt $limit)
    if ($busy) { throw 'Windows is still being set up: its screen shows what it waits for' }
}

function Invoke-Installer([string] $File, [string[]] $Arguments, [int[]] $ExitCodes) {
    $process = Start-Process -FilePath $File -ArgumentList $Arguments -Wait -PassThru
    if ($ExitCodes -notcontains $process.ExitCode) { throw "$File ended with exit code $($process.ExitCode)" }
    if ($process.ExitCode -ne 0) { $script:Restart = $true }
}

function Install-GuestTool {
    # The virtio drivers that are left, and the guest agent.
    if (-not (Get-Service -Name 'QEMU-GA' -ErrorAction SilentlyContinue)) {
        $discs = Get-CimInstance -ClassName Win32_LogicalDisk -Filter 'DriveType = 5'
        $installer = $discs | ForEach-Object { Join-Path $_.DeviceID 'virtio-win-guest-tools.exe' } | Where-Object { Test-Path $_ } | Select-Object -First 1
        if (-not $installer) { throw 'no disc holds virtio-win-guest-tools.exe' }
        Invoke-Installer $installer @('/install', '/quiet', '/norestart') @(0, 1641, 3010)
    }
    Set-Service -Name 'QEMU-GA' -StartupType Automatic
    Start-Service -Name 'QEMU-GA'
}

function Set-Account {
    # It would be locked out of remote management after 42 days.
    Set-LocalUser -Name $Settings.admin_user -PasswordNeverExpires $true
}

function Set-WinRm {
    Import-Certificate -FilePath (Join-Path $Source 'ca.crt') -CertStoreLocation Cert:\LocalMachine\Root | Out-Null
    $passphrase = ConvertTo-SecureString -String $Settings.archive_passphrase -AsPlainText -Force
    $certificate = Import-PfxCertificate -FilePath (Join-Path $Source 'winrm.p12') -CertStoreLocation Cert:\LocalMachine\My -Password $passphrase
    Enable-PSRemoting -SkipNetworkProfileCheck -Force | Out-Null
    Set-Service -Name WinRM -StartupType Automatic
    # The one without TLS goes, and one whose certificate is another.
    Get-ChildItem -Path WSMan:\localhost\Listener | Remove-Item -Recurse -Force
    New-Item -Path WSMan:\localhost\Listener -Transport HTTPS -Address '*' -CertificateThumbPrint $certificate.Thumbprint -Force | Out-Null
    Set-Item -Path WSMan:\localhost\Service\AllowUnencrypted -Value $false
    Set-Item -Path WSMan:\localhost\Service\Auth\Basic -Value $false
    # A local account that is an administrator is one over the network, too.
    $policies = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System'
    Set-ItemProperty -Path $policies -Name LocalAccountTokenFilterPolicy -Value 1 -Type DWord
}

function Set-RemoteDesktop {
    $server = 'HKLM:\SYSTEM\CurrentControlSet\Control\Terminal Server'
    Set-ItemProperty -Path "$server\WinStations\RDP-Tcp" -Name UserAuthentication -Value 1 -Type DWord
    Set-ItemProperty -Path "$server\WinStations\RDP-Tcp" -Name SecurityLayer -Value 2 -Type DWord
    Set-ItemProperty -Path $server -Name fDenyTSConnections -Value 0 -Type DWord
}

function Set-Firewall {
    Set-NetFirewallProfile -All -Enabled True -DefaultInboundAction Block
    # Windows' own rules for remote desktop and remote management let everybody in.
    Get-NetFirewallRule | Where-Object { @('@FirewallAPI.dll,-28752', '@FirewallAPI.dll,-30267') -contains $_.Group } | Disable-NetFirewallRule
    foreach ($rule in $Settings.rules) {
        $name = "onprem-$($rule.name)"
        Get-NetFirewallRule -Name $name -ErrorAction SilentlyContinue | Remove-NetFirewallRule
        if ($rule.from.Count -gt 0) {
            $what = if ($rule.port) { @{ LocalPort = $rule.port } } else { @{ IcmpType = 8 } }
            New-NetFirewallRule -Name $name -DisplayName $name -Direction Inbound -Action Allow -Protocol $rule.protocol @what -RemoteAddress $rule.from | Out-Null
        }
    }
}

function Install-Package($Package) {
    $record = Join-Path $Done "$($Package.name).sha256"
    if ((Test-Path $record) -and (Get-Content -Path $record) -eq $Package.sha256) { return }
    $file = Join-Path $Base ([System.IO.Path]::GetFileName(([uri] $Package.url).LocalPath))
    [Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor [Net.SecurityProtocolType]::Tls12
    (New-Object System.Net.WebClient).DownloadFile($Package.url, $file)
    try {
        $found = (Get-FileHash -Path $file -Algorithm SHA256).Hash
        if ($found -ne $Package.sha256) { throw "$($Package.url) has SHA-256 $found, not $($Package.sha256)" }
        $codes = if ($Package.exit_codes) { $Package.exit_codes } else { @(0, 1641, 3010) }
        $arguments = @($Package.arguments | Where-Object { $_ })
        if ($file -like '*.msi') {
            Invoke-Installer 'msiexec.exe' (@('/i', "`"$file`"", '/qn', '/norestart') + $arguments) $codes
        } else {
            $arguments = if ($arguments) { $arguments } else { @('/quiet') }
            Invoke-Installer $file $arguments $codes
        }
        [System.IO.File]::WriteAllText($record, $Package.sha256)
    } finally {
        Remove-Item -Path $file -Force
    }
}

function Install-AllPackage {
    New-Item -ItemType Directory -Path $Done -Force | Out-Null
    foreach ($package in $Settings.packages) {
        Write-Output "package $($package.name)"
        Install-Package $package
    }
}

function Invoke-AllScript {
    foreach ($file in Get-ChildItem -Path (Join-Path $Source 'scripts') -Filter '*.ps1' | Sort-Object -Property Name) {
        Write-Output "script $($file.Name)"
        & $file.FullName
    }
}

function Remove-Secret {
    # Setup keeps copies of the answer file, with the password.
    $copies = @(
        "$env:WINDIR\Panther\unattend.xml", "$env:WINDIR\Panther\unattend-original.xml", "$env:WINDIR\Panther\Unattend\unattend.xml",
        "$env:WINDIR\Panther\autounattend.xml", "$env:WINDIR\System32\Sysprep\unattend.xml", "$env:WINDIR\Setup\Scripts\SetupComplete.cmd"
    )
    $copies | Where-Object { Test-Path $_ } | ForEach-Object { Remove-Item -Path $_ -Force }
    Unregister-ScheduledTask -TaskName 'onprem-setup' -Confirm:$false
    Remove-Item -Path $Source -Recurse -Force
}

Start-Transcript -Path (Join-Path $Base 'setup.log') -Append | Out-Null
$step = 'reading its settings'
try {
    Write-State 'installing'
    $Settings = Get-Content -Path (Join-Path $Source 'settings.json') -Raw -Encoding UTF8 | ConvertFrom-Json
    foreach ($step in 'Wait-Setup', 'Install-GuestTool', 'Set-Account', 'Set-WinRm', 'Set-RemoteDesktop', 'Set-Firewall', 'Install-AllPackage', 'Invoke-AllScript', 'Remove-Secret') {
        Write-Output "$(Get-Date -Format s) $step"
        & $step
    }
    Write-State 'installed'
} catch {
    Write-State "failed at ${step}: $($_.Exception.Message)"
    Write-Output $_
    exit 1
} finally {
    Stop-Transcript | Out-Null
}
if ($script:Restart) { Restart-Computer -Force }
